"""`embodied twin`: an emulated SO-101 that a driver opens like a real one, served until it is stopped."""

import json
import signal
from pathlib import Path

from embodied.arguments import TwinArguments
from embodied.console import Console
from robots.twin.process import tell
from robots.twin.server import Server, TwinConfig


def twin(arguments: TwinArguments, console: Console) -> None:
    """Serve until ctrl-C or SIGTERM; with `tell`, say that to the twin that runs in the folder and show its answer.

    Raises `EmbodiedError` for settings that there are not, and where the folder has a running twin, or none to tell.
    """
    if arguments.tell:
        console.say(json.dumps(tell(Path(arguments.folder), arguments.tell), indent=2))
        return
    config = TwinConfig(
        robot=arguments.robot, task=arguments.task, distractors=arguments.distractors, seed=arguments.seed,
        servo=arguments.servo, draw=arguments.draw, calibrated=arguments.calibrated, folder=arguments.folder,
        clock=arguments.clock, packet_time=arguments.packet_time, faults=arguments.faults, picture=arguments.picture,
    )  # fmt: skip
    with Server(config) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.stop)
        console.say(f"port     {server.port}")
        console.say(f"LeRobot  --robot.type={server.arm.make.driver} --robot.port={server.port} --robot.id=twin "
                    f"--robot.calibration_dir={server.folder}")  # fmt: skip
        console.say(f"camera   --discover_packages_path=robots.lerobot_plugin --robot.cameras="
                    f"'{{front: {{type: twin, folder: {server.folder}}}}}'")  # fmt: skip
        if config.picture:
            console.say(f"picture  {server.folder / 'scene.png'}, every {config.picture:g} s")
        console.say(f"faults   embodied twin folder={server.folder} tell='stall(elbow_flex)'")
        console.say("ctrl-C stops it.")
        server.serve()
