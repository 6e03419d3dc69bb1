"""A bidirectional pre-norm transformer over (time x token) with an additive attention bias."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Attention and an MLP, each behind a LayerNorm and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width)
        last = nn.Linear(2 * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU("tanh"), last)
        # Zero-initialised: a block starts as the identity.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(last.weight)

    def forward(self, tokens: Float[Tensor, "B L W"], bias: Float[Tensor, "B 1 L L"]) -> Float[Tensor, "B L W"]:
        """`bias` is added to the attention's logits; -inf forbids."""
        mixed: Tensor = self.query_key_value(self.before_attention(tokens))
        query, key, value = mixed.reshape(*mixed.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(-2))
        out: Tensor = tokens + self.mlp(self.before_mlp(tokens))
        return out


class Transformer(nn.Module):
    """A stack of blocks with a final norm."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width)

    def forward(self, tokens: Float[Tensor, "B L W"], bias: Float[Tensor, "B 1 L L"]) -> Float[Tensor, "B L W"]:
        """See `Block.forward`."""
        for block in self.blocks:
            tokens = block(tokens, bias)
        out: Tensor = self.last(tokens)
        return out
