"""Tables in the terminal."""


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print a table with its first column to the left and the others to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Without a terminal the table keeps its natural width, so that a file or a pipe gets whole lines.
    console = Console()
    Console(width=None if console.is_terminal else 240).print(table)
