"""The help of commands with many options: in groups, under headings."""

from collections.abc import Callable, Mapping

import click

# Parameters by heading, over all commands; what stands in none is under the last heading.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "What is evaluated": ("tasks", "metrics", "model", "options", "protocol", "extract", "config", "name"),
    "Data": (
        "data", "data_root", "allow_links", "hub_id", "hub_config", "hub_revision", "split", "limit", "demo_examples",
        "skip_missing_media", "media_timeout", "media_budget", "tasks_dir", "max_unreadable", "media", "picture_side",
        "examples", "threads", "decode", "prefetch", "weights", "pack", "group_by_length",
    ),
    "Network": ("preset", "backbones", "precision", "trained_precision", "quantize", "device", "prompt_order",
                "prompt", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "no_lora"),
    "Optimization": ("steps", "batch_size", "accumulate", "learning_rate", "warmup", "schedule", "weight_decay",
                     "max_grad_norm", "optim", "rate", "freeze", "seed", "gradient_checkpointing"),
    "Prompts and answers": (
        "max_new_tokens", "temperature", "top_p", "system", "thinking", "thinking_tokens", "ablate", "samples",
        "with_blind",
    ),
    "Execution": ("attn", "compile", "shard", "device_map", "engine", "workers", "gpus_per_worker", "address",
                  "features", "max_errors", "ptb", "allow_environment_change"),
    "Memory": ("estimate", "memory", "text_tokens", "new_tokens"),
    "Evaluation while training": ("eval_every", "eval_tasks", "eval_metrics", "eval_limit", "eval_data",
                                  "eval_protocol"),
    "Output": ("out", "details", "dry_run", "save_every", "keep", "keep_best", "with_changes", "log_every", "report_to",
               "log_to", "note", "junit", "markdown", "as_json", "format", "against", "accepted", "like", "gains",
               "columns", "names", "intervals"),
}  # fmt: skip
# Where an option has another place in a command than in others.
EVALUATING: Mapping[str, str] = {
    "precision": "Execution", "quantize": "Execution", "device": "Execution", "batch_size": "Execution",
    "seed": "Prompts and answers", "threads": "Execution",
}  # fmt: skip
FEW = 8  # a command of so many options needs no headings


class Command(click.Command):
    """A command whose help has its options under headings, where they are many."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, a section for each heading."""
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and option.default == "":
                option.show_default = False  # click would write two quotes
        # Without arguments, as click's own: the usage names them, and the text above explains them.
        named = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        options = [option for option in named if option.get_help_record(ctx) is not None]
        if len(options) <= FEW:
            super().format_options(ctx, formatter)
            return
        for heading in (*GROUPS, "Other"):
            rows = [record for option in options if self._heading(option) == heading
                    if (record := option.get_help_record(ctx)) is not None]  # fmt: skip
            if rows:
                with formatter.section(heading):
                    formatter.write_dl([_fitting(*row, formatter.width - formatter.current_indent) for row in rows])

    def _heading(self, option: click.Parameter) -> str:
        own = EVALUATING if any(each.name == "max_new_tokens" for each in self.params) else {}
        if option.name in own:
            return own[str(option.name)]
        return next((heading for heading, names in GROUPS.items() if option.name in names), "Other")


def _fitting(name: str, about: str, width: int) -> tuple[str, str]:
    """The row of an option; choices that make its name wider than the terminal go to the text beside it."""
    if len(name) <= width or not name.endswith("]"):
        return name, about
    option, _, choices = name.rpartition(" ")
    return option, f"{choices[1:-1].replace('|', ', ')}: {about}"


def completing(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What a shell completes an option to: names of ``tasks``, ``models`` or ``protocols``, after commas too."""

    def complete(context: click.Context, option: click.Parameter, typed: str) -> list[str]:
        del context, option
        from anymal_eval import catalog

        before, comma, last = typed.rpartition(",")
        return [f"{before}{comma}{name}" for name in getattr(catalog, kind)().names() if name.startswith(last)]

    return complete


class CommandGroup(click.Group):
    """A group of such commands."""

    command_class = Command
