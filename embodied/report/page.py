"""Writes `ReportData` as one HTML page: no scripts, no network, everything inside."""

import math
from html import escape
from pathlib import Path

from embodied.evaluation.effects import EDGE
from embodied.evaluation.statistics import Estimate
from embodied.report.charts import floor_chart, interval_bar, line_chart, trust_chart
from embodied.report.data import Clip, ReportData, SkillRow
from embodied.report.overlay import influence_graph, top_view
from embodied.report.style import CSS
from embodied.report.video import data_uri, image_type
from envs.errors import EmbodiedError

MOST_BYTES = 15_000_000
"""A page larger than this no longer opens at once or fits into a mail."""

KINDS = {"move": "Move an object", "remove": "Take one away", "action": "Other actions"}


def percent(rate: float) -> str:
    """A rate as people say it: `97.5 %`, `100 %`."""
    return f"{100 * rate:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"


def _plain(value: float, digits: int = 2) -> str:
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _interval(estimate: Estimate, digits: int = 2, scale: float = 1.0) -> str:
    if math.isnan(estimate.low):
        return ""
    return f"<small>{_plain(scale * estimate.low, digits)} to {_plain(scale * estimate.high, digits)}</small>"


def _main_row(data: ReportData) -> SkillRow | None:
    return next((row for row in data.skill if row.role == "main"), None)


def verdict(data: ReportData) -> tuple[str, str]:
    """The page's first sentence and the one that qualifies it, as HTML."""
    row = _main_row(data)
    parts = []
    if data.success is not None:
        first = (
            f"Asked to {escape(data.task)}, the learned policy succeeds in <em>{percent(data.success.value)}</em> "
            f"of {data.success.count} unseen starts."
        )
        parts.append(f"95 % interval {percent(data.success.low)} to {percent(data.success.high)}.")
        if data.success_random is not None:
            parts.append(f"Acting at random reaches {percent(data.success_random.value)};")
        if data.success_expert is not None:
            parts.append(f"the scripted expert {percent(data.success_expert.value)}.")
    elif row is not None:
        first = "What would happen if the world were changed, imagined by a model and checked against physics."
    else:
        first = escape(data.title)
    spill = row.skill.get("spillover") if row else None
    if spill is not None and math.isfinite(spill.value):
        skill = f"{_plain(spill.value)} ({_plain(spill.low)} to {_plain(spill.high)})"
        sense = "so it knows" if spill.low > 0 else "so it does not yet know"
        parts.append(
            f"When one object is moved or taken away, its world model foretells what becomes of the <i>others</i> with "
            f"a skill of {skill}, where 1 is MuJoCo itself and 0 is answering that nothing would change: {sense} more "
            "than that."
        )
    return first, " ".join(parts)


def _tiles(data: ReportData) -> str:
    row = _main_row(data)
    tiles = []
    if data.success is not None:
        tiles.append((percent(data.success.value), f"success, {data.success.count} unseen starts"))
    if row is not None:
        spill = row.skill.get("spillover")
        if spill is not None:
            tiles.append((_plain(spill.value), "what-if skill on objects nobody touched (1 = MuJoCo)"))
        tiles.append((_plain(row.influence.value), "influence AUROC: who moves whom (0.5 = guessing)"))
    if data.clip is not None:
        tiles.append((f"{data.clip.trusted:.1f} s", "imagined ahead before the model distrusts itself"))
    elif data.chaos is not None:
        tiles.append((f"{1000 * data.chaos.median:.1f} mm", "chaos floor: nobody can predict better"))
    return "".join(f"<div><b>{value}</b><span>{escape(text)}</span></div>" for value, text in tiles)


def _film(clip: Clip) -> str:
    poster = data_uri(clip.poster, image_type(clip.poster))
    alt = "Two views of the same scene under the same actions: left the simulator, right the imagination."
    if clip.media_type.startswith("video/"):
        moving = (
            f'<video controls loop muted autoplay playsinline poster="{poster}" aria-label="{alt}">'
            f'<source src="{data_uri(clip.video, clip.media_type)}" type="{clip.media_type}"></video>'
            f'<img class="still" src="{poster}" alt="{alt}">'
        )
    else:
        moving = f'<img src="{data_uri(clip.video, clip.media_type)}" alt="{alt}">'
    return (
        '<figure><div class="film"><div class="names"><span>MuJoCo: what happens</span>'
        f"<span>Imagined by the model</span></div>{moving}"
        f'<div class="below">{trust_chart(clip)}</div></div><figcaption>{escape(clip.caption)} The model sees the '
        f"first moment and the plan of actions, nothing after. The bar under the film is blue while the model expects "
        f"to be within {1000 * clip.threshold:.0f} mm (nine times in ten), the trusted horizon; then it turns "
        "orange and the imagination fades.</figcaption></figure>"
    )


def _legend() -> str:
    keys = (("factual", "what happened"), ("truth", "what if, in MuJoCo"), ("imagined", "what if, imagined"))
    items = "".join(
        f'<li><svg viewBox="0 0 34 12" aria-hidden="true"><path class="key {kind}" d="M1,6H33"/></svg>{text}</li>'
        for kind, text in keys
    )
    return f'<ul class="legend">{items}<li>thin line: path of the tool</li></ul>'


def _gallery(data: ReportData) -> str:
    cards = []
    for case in data.gallery:
        worst = " worst" if "worst" in case.title.lower() else ""
        cards.append(
            f'<figure class="card{worst}"><span class="tag">{escape(case.title)}</span>'
            f"<h3><code>{escape(case.intervention)}</code></h3>{top_view(case)}"
            f"<figcaption>{escape(case.sentence)}</figcaption></figure>"
        )
    return f'{_legend()}<div class="grid-2">{"".join(cards)}</div>'


def _skill_table(data: ReportData) -> str:
    kinds = [kind for kind in KINDS if any(kind in row.skill for row in data.skill)]
    head = "".join(f'<th scope="col">{KINDS[kind]}<br>effect skill</th>' for kind in kinds)
    rows = []
    for row in data.skill:
        cells = []
        for kind in kinds:
            estimate = row.skill.get(kind)
            if estimate is None:
                cells.append("<td></td>")
                continue
            bar = interval_bar(estimate, role=row.role)
            cells.append(f"<td>{_plain(estimate.value)}{bar}{_interval(estimate)}</td>")
        cells.append(f"<td>{_plain(row.influence.value)}{_interval(row.influence)}</td>")
        cells.extend(
            f"<td>{_plain(1000 * error.value, 1)}{_interval(error, 1, 1000)}</td>"
            for error in (row.factual_error, row.counterfactual_error)
        )
        rows.append(
            f'<tr class="{row.role}"><th scope="row">{escape(row.source)}<small>{escape(row.note)}</small></th>'
            f"{''.join(cells)}</tr>"
        )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of what-if skill"><table><thead><tr>'
        f'<th scope="col">Source</th>{head}<th scope="col">Influence<br>AUROC</th>'
        '<th scope="col">Factual<br>error, mm</th><th scope="col">What-if<br>error, mm</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _calm(data: ReportData) -> str:
    if data.calm is None:
        return ""
    skill, share = data.calm
    return (
        f" Where the nudged simulator agrees with itself ({percent(share)} of the objects scored), the model's skill "
        f"on objects nobody touched is {_plain(skill.value)} ({_plain(skill.low)} to {_plain(skill.high)})."
    )


def _gain(data: ReportData) -> str:
    if not data.gain:
        return ""
    parts = [
        f"{_plain(one.value)} ({_plain(one.low)} to {_plain(one.high)}) for &ldquo;{KINDS[kind].lower()}&rdquo;"
        for kind, one in data.gain.items()
        if kind in KINDS
    ]
    return f" On the same cases, interactions between objects are worth {', '.join(parts)}."


def _sections(data: ReportData) -> str:
    parts = []
    if data.clip is not None:
        parts.append(f"<section><h2>What it imagines</h2>{_film(data.clip)}</section>")
    if data.gallery:
        parts.append(
            "<section><h2>What if it had been otherwise</h2><p class='lead'>The same instant, the same actions, one "
            "thing changed. MuJoCo says what would have followed; the model has to guess.</p>"
            f"{_gallery(data)}</section>"
        )
    if data.skill:
        parts.append(
            "<section><h2>How well it guesses</h2><p class='lead'>Scored on the objects that were <i>not</i> touched "
            f"by the change, over {data.contexts} saved instants. 1 is perfect, 0 is answering that nothing would "
            "change, below 0 is worse than saying nothing.</p>"
            f"{_skill_table(data)}<p class='note'>Effect skill is 1 &minus; &Sigma;&Vert;imagined effect &minus; "
            "true effect&Vert;&sup2; / &Sigma;&Vert;true effect&Vert;&sup2;. "
            "Intervals: 95 %, bootstrap over instants, not frames. Errors are at the horizon. "
            "Object edits and edits of the action are kept apart, for the second are easy and would hide the "
            f"first.{_gain(data)}</p></section>"
        )
    if data.graph is not None:
        parts.append(
            "<section><h2>Who moves whom</h2><p class='lead'>At one instant, each object in turn is taken away and the "
            "arm held still, and the others are watched. Nothing is read off attention weights. Shown is the instant "
            "with the most arrows in MuJoCo among those where a nudge does not change them.</p>"
            f'<div class="grid-2"><figure class="card"><h3>MuJoCo</h3>{influence_graph(data.graph, "truth", EDGE)}'
            f'</figure><figure class="card"><h3>Model</h3>{influence_graph(data.graph, "imagined", EDGE)}</figure>'
            f"</div><p class='note'>Arrows carry the effect at the horizon in millimetres; effects below "
            f"{1000 * EDGE:.0f} mm are not drawn.</p></section>"
        )
    if data.chaos is not None:
        floor = data.chaos
        parts.append(
            "<section><h2>What nobody can know</h2><div class='grid-2'><div><p>Contact amplifies small differences. "
            f"MuJoCo itself, started with every object nudged by {1000 * floor.nudge:g} mm, ends "
            f"{1000 * floor.median:.2g} mm away in the median and {1000 * floor.p90:.2g} mm for the worst tenth. No "
            "model that sees the world through a camera can be asked for more. Only effects above "
            f"{1000 * EDGE:.0f} mm count as influence.{_calm(data)}</p></div>"
            f"<figure>{floor_chart(floor)}</figure></div></section>"
        )
    if data.curves:
        charts = "".join(
            f'<figure class="card"><h3>{escape(chart.title)}</h3><span class="tag">{escape(chart.y_label)}</span>'
            f"{line_chart(chart)}</figure>"
            for chart in data.curves
        )
        parts.append(f'<section><h2>How it learned</h2><div class="grid-2">{charts}</div></section>')
    if data.limits:
        items = "".join(f"<li>{escape(limit)}</li>" for limit in data.limits)
        parts.append(f'<section><h2>What this does not show</h2><ul class="limits">{items}</ul></section>')
    if data.command:
        facts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in data.facts.items())
        parts.append(f"<section><h2>Do it again</h2><pre>{escape(data.command)}</pre><dl>{facts}</dl></section>")
    return "".join(parts)


def render(data: ReportData) -> str:
    """The page as text; raises `EmbodiedError` where a picture is of an unknown type."""
    first, second = verdict(data)
    hero = ""
    if data.hero is not None:
        uri = data_uri(data.hero, image_type(data.hero))
        hero = f'<figure class="hero"><img src="{uri}" alt="{escape(data.hero_alt)}"></figure>'
    tiles = _tiles(data)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(data.title)}</title><style>{CSS}</style></head><body>"
        f"<header><b>Embodied What-If</b><span>{escape(data.run)}</span></header><main>"
        f'<h1>{first}</h1><p class="lead">{second}</p>{hero}'
        f"{f'<div class="tiles">{tiles}</div>' if tiles else ''}{_sections(data)}</main>"
        "<footer>Written by embodied report. Nothing on this page is loaded from a network.</footer></body></html>"
    )


def write(data: ReportData, file: Path) -> Path:
    """Writes the page whole or not at all; raises `EmbodiedError` where it would be too large to send."""
    text = render(data).encode("utf-8")
    if len(text) > MOST_BYTES:
        raise EmbodiedError(
            f"The page would be {len(text) / 1e6:.1f} MB, above {MOST_BYTES / 1e6:.0f} MB: shorten or shrink its film."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(text)
    partial.replace(file)
    return file
