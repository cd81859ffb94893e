"""`depthweave models`: the table of models."""

import typer

from depthweave.cli.options import Json


def command(as_json: Json = False) -> None:
    """List every model with its licence, size and training data, and whether its weights are on this machine."""
    import json
    from dataclasses import asdict

    from depthweave.cli.tables import print_table
    from depthweave.models.registry import list_models
    from depthweave.models.weights import has_weights

    cards = list_models()
    if as_json:
        typer.echo(json.dumps([{**asdict(card), "here": has_weights(card)} for card in cards]))
        return
    header = [
        "name",
        "task",
        "what it is",
        "source",
        "here",
        "licence",
        "commercial use",
        "parameters",
        "training data",
    ]
    rows = [
        [
            card.name,
            card.task,
            card.summary,
            card.source,
            "yes" if has_weights(card) else "no",
            card.licence,
            {True: "yes", False: "no", None: "not stated"}[card.commercial_use],
            f"{card.parameters / 1e6:.1f} M" if card.parameters else "0",
            card.training_data,
        ]
        for card in cards
    ]
    print_table("models", header, rows)
