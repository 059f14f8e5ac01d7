"""``tuwen train``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tuwen.config import TuwenError


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of one that comes with Tuwen 配方.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Change the recipe 修改配方.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run 输出目录 [default: runs/NAME].")] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="auto|PATH", help="Go on from the last checkpoint, or from this one 断点续训.")
    ] = None,
    nproc: Annotated[int, typer.Option(min=1, help="Processes on this machine 进程数.")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be trained, then stop 只看计划.")] = False,
    devices: Annotated[int | None, typer.Option(min=1, help="Plan: so many 计划的设备数 [default: --nproc].")] = None,
    device: Annotated[str | None, typer.Option(help="Plan: on this one, e.g. H100 计划的设备.")] = None,
    flops: Annotated[
        float | None, typer.Option(min=1, help="Plan: FLOP/s that each reaches 每设备算力 [default: 40% of its peak].")
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Plan: of an epoch, without looking 样本数.")] = None,
    tokens_per_sample: Annotated[int | None, typer.Option(min=1, help="Plan: pictures counted 每样本词元数.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Plan: print JSON 输出 JSON.")] = False,
) -> None:
    """Train in stages as a recipe says 按配方分阶段训练."""
    from tuwen.train.recipe import find_recipe, read_recipe

    # Mistakes in the recipe are said before torch is loaded.
    read_recipe(find_recipe(recipe), overrides or [])
    request = {
        "--devices": devices,
        "--device": device,
        "--flops": flops,
        "--samples": samples,
        "--tokens-per-sample": tokens_per_sample,
        "--json": as_json or None,
    }
    if plan:
        _plan(recipe, overrides or [], {**request, "--devices": devices or nproc})
        return
    for name, value in request.items():
        if value is not None:
            raise TuwenError(f"{name}: has an effect with --plan only")
    if nproc > 1 and "RANK" not in os.environ:
        from tuwen.train.launch import launch

        raise typer.Exit(launch(sys.argv[1:], nproc))
    from tuwen.train.run import Stopped, train

    try:
        model = train(recipe, overrides or [], out, resume)
    except Stopped as stopped:
        Console().print(f"{stopped}; go on with --resume auto 用 --resume auto 继续")
        return
    Console().print(f"模型 model  [cyan]{model}[/]")


def _plan(recipe: str, overrides: list[str], request: dict[str, Any]) -> None:
    from tuwen.train.plan import PlanRequest, plan_run
    from tuwen.train.planning.amounts import Assumed
    from tuwen.train.planning.display import plan_lines
    from tuwen.train.recipe import find_recipe, read_recipe

    with Console(stderr=True).status("planning 计划中 …"):
        planned = plan_run(
            read_recipe(find_recipe(recipe), overrides),
            PlanRequest(
                devices=request["--devices"],
                device=request["--device"],
                flops=request["--flops"],
                assumed=Assumed(samples=request["--samples"], tokens=request["--tokens-per-sample"]),
            ),
        )
    if request["--json"]:
        typer.echo(json.dumps(planned.values(), ensure_ascii=True, indent=2))
    else:
        Console().print(plan_lines(planned))
