"""What a volume costs: voxels per core-hour and dollars, by stage, beside the published figure."""

from __future__ import annotations

from connectome.web.dashboard import words
from connectome.web.dashboard.records import Figures, Machine, PipelineRecord, Spread
from connectome.web.dashboard.strips import Bar, Strips
from connectome.web.markup import Markup, cell, head_cell, join, note, row, section, table
from connectome.web.quantities import dollars, number

PUBLISHED_VOXELS_PER_CORE_HOUR, PUBLISHED_USD_PER_TERAVOXEL = 34e6, 2000
PUBLISHED = (
    "SyConn2 is the field's published figure: about 34 megavoxels per hour and CPU core, and $2,000 per teravoxel, "
    "GPUs included (Schubert et al., Nature Methods 19, 2022, doi:10.1038/s41592-022-01624-x). It is for other work: "
    "enrichment only (organelles, synapses, cell types), starting from a finished segmentation. Ours segments and does "
    "no enrichment yet. The two stand side by side for scale; neither includes the other."
)
TITLES = ("stage", "voxels per core-hour", "lowest to highest")
COSTS = ("core-hours per teravoxel", "dollars per teravoxel")


def cost_section(machine: Machine) -> Markup:
    """Return a table for each workflow that was measured, its newest record."""
    tables = [_workflow(record) for record in machine.current_pipelines if record.overall or record.stages]
    if not tables:
        return section("What a volume costs", note("No workflow was measured on this hardware: run make bench."))
    return section("What a volume costs", *tables, note(PUBLISHED))


def _workflow(record: PipelineRecord) -> Markup:
    stages = {name: figures for name, figures in record.stages.items() if figures}
    bars = {name: _bar(figures, "ours") for name, figures in stages.items()}
    overall = _bar(record.overall, "overall")
    published = Bar(PUBLISHED_VOXELS_PER_CORE_HOUR, style="reference")
    strips = Strips.of([*bars.values(), overall, published], number)
    rows = [_row(name, figures, strips.cell(bars[name])) for name, figures in stages.items()]
    if record.overall:
        rows.insert(0, _row("overall", record.overall, strips.cell(overall), "overall"))
    rows.append(
        row(
            head_cell("SyConn2, published: other work"),
            *(cell(number(PUBLISHED_VOXELS_PER_CORE_HOUR)), cell(words.MISSING), strips.cell(published)),
            *(cell(words.MISSING), cell(dollars(PUBLISHED_USD_PER_TERAVOXEL))),
        )
    )
    workers = f", {record.workers} workers" if record.workers is not None else ""
    repeats = f"; median of {record.repeats} runs" if record.repeats else ""
    caption = (
        f"Workflow {record.case} on {record.input}{workers}{repeats} ({words.origin(record)}). Overall counts "
        "allocated time: idle workers and the making of a synthetic image, where the workflow makes one, included."
    )
    return join(table(caption, (*TITLES, strips.axis(), *COSTS), rows), _price(record))


def _price(record: PipelineRecord) -> Markup:
    if record.prices is None:
        return note("The record names no price table.")
    source = f" ({record.prices.source})" if record.prices.source else ""
    return note(
        f"Price table: {record.prices.name}, {record.prices}{source}. Figures per teravoxel (10^12 voxels) are scaled "
        "from this volume, not measured on one."
    )


def _bar(figures: Figures, style: str) -> Bar | None:
    spread = figures.get("voxels_per_core_hour")
    return None if spread is None else Bar(spread.median, spread.min, spread.max, style=style)


def _row(name: str, figures: Figures, strip: Markup, class_: str | None = None) -> Markup:
    speed, hours, price = (
        figures.get(each) for each in ("voxels_per_core_hour", "core_hours_per_teravoxel", "usd_per_teravoxel")
    )
    return row(
        head_cell(name),
        cell(number(speed.median) if speed else words.MISSING),
        cell(_span(speed)),
        strip,
        cell(f"{hours.median:,.1f}" if hours else words.MISSING),
        cell(dollars(price.median) if price else words.MISSING),
        class_=class_,
    )


def _span(spread: Spread | None) -> str:
    return words.MISSING if spread is None else words.span(number(spread.min), number(spread.max))
