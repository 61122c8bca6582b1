"""``python -m anymal_eval.training.demo_model``: make the demo model, from nothing but the demo world."""

from pathlib import Path

import click

from anymal_eval.training.demo_model import recipe
from anymal_eval.training.demo_model.recipe import SCALES, Figures, Scale


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The work folder; the same one goes on.")
@click.option("--scale", type=click.Choice(sorted(SCALES)), default="full", help="small: to see that it all runs.")
@click.option("--seed", default=0, help="Of stage 1 and 2.")
@click.option("--part", help="Make this part alone, in this process.")
def main(out: Path, scale: str, seed: int, part: str | None) -> None:
    """Make the demo model from the demo world's training split: tokenizer, LLM, four encoders, stage 1, stage 2."""
    if part is None:
        click.echo(f"the checkpoint is {recipe.make(out, scale, seed)}")
        return
    import torch

    torch.set_num_threads(1)
    if part in recipe.STAGES:
        from anymal_eval.training.demo_model import stages

        figures = Figures(out, part, SCALES[scale].courses[part])
        for step, loss in enumerate(stages.run(part, out, SCALES[scale], seed)):
            figures.log(step, loss)
        figures.close()
        return
    _make(out, part, SCALES[scale])


def _make(out: Path, part: str, scale: Scale) -> None:
    from anymal_eval.training.demo_model import language, towers, world

    figures = Figures(out, part, scale.courses.get(part))
    counts = {kind: count if kind in recipe.needs(part) else 0 for kind, count in scale.scenes.items()}
    scenes = world.draw(counts, scale.texts, seed=0)
    if part == "world":
        world.write(scenes, out / "world", seed=0)
    elif part == "llm":
        language.save(*language.train(scenes, scale.courses["llm"], 0, figures.log), out / "model" / "llm")
    else:
        (kind,) = recipe.needs(part)
        towers.train(recipe.network(out), kind, scenes.pairs[kind], scale.courses[part], figures.log)
    figures.close()


if __name__ == "__main__":
    main()
