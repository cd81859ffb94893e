"""`depthweave models`: the table of models."""

import typer

from depthweave.cli.options import Json


def command(as_json: Json = False) -> None:
    """List every model with its licence, size and training data."""
    import json
    from dataclasses import asdict

    from depthweave.cli.tables import print_table
    from depthweave.models.registry import list_models

    cards = list_models()
    if as_json:
        typer.echo(json.dumps([asdict(card) for card in cards]))
        return
    header = ["name", "task", "what it is", "source", "licence", "commercial use", "parameters", "training data"]
    rows = [
        [
            card.name,
            card.task,
            card.summary,
            card.source,
            card.licence,
            "yes" if card.commercial_use else "no",
            f"{card.parameters / 1e6:.1f} M" if card.parameters else "0",
            card.training_data,
        ]
        for card in cards
    ]
    print_table("models", header, rows)
