"""The `stylegan` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from stylegan.errors import UserError, nearest, one_message, shown
from stylegan.memory import check_memory
from stylegan.values import at_home, check_text

_Choice = TypeVar("_Choice")
FACES3D = "faces3d"
NETWORK = "demo, portrait, a run's folder (its newest snapshot), or a .safetensors file"
MOST_PIXELS = 178_956_970  # more are refused by Pillow
MOST = 2**53
MOST_TIMES = 10_000  # that something is done again
MAX_SEED = 2**63 - 1
BYTES_OF_A_PIXEL = 10  # while an image is prepared: as Pillow holds it, as an array and as a file
app = typer.Typer(
    help="Prepare data for style-based GANs, measure networks, give them away. Training and figures: train.py, generate.py.",
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)


class _Command(TyperCommand):
    """A command that looks at what was typed before it is taken: a leading ~ is the home folder, also after `--option=`, where
    shells leave it; a text must be one that names something; an option that takes one value is given once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = [_at_home(argument) for argument in args]
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = Counter(parameter.name for parameter in order if not getattr(parameter, "is_flag", False))
        for parameter in order:
            name = max(parameter.opts, key=len) if parameter.opts[0].startswith("-") else parameter.opts[0].upper()
            if given[parameter.name] > 1 and not getattr(parameter, "multiple", False):
                raise UserError(f"{name} is given {given[parameter.name]} times; it takes one value")
            value = values.get(parameter.name)
            for text in value if isinstance(value, list | tuple) else [value]:
                if isinstance(text, str):
                    check_text(text, name)
        try:
            return super().parse_args(ctx, args)
        except _USAGE_ERROR as error:  # it names the option; not every version of typer says what was wrong with what
            text = values.get(getattr(getattr(error, "param", None), "name", ""))
            if isinstance(text, str) and text not in error.message:
                error.message = f"{shown(text, 100)}: {error.message}"
            raise


def _at_home(argument: str) -> str:
    option, equals, value = argument.partition("=")
    return f"{option}{equals}{at_home(value)}" if argument.startswith("--") else at_home(argument)


command = partial(app.command, cls=_Command)
_USAGE_ERROR: Any = typer.BadParameter.__base__  # click's, which typer brings with it or not


def main() -> None:
    """What the installed `stylegan` script runs: wrong input ends with one message and exit code 2."""
    with one_message():
        try:
            status = app(standalone_mode=False)
        except typer.Abort:
            raise KeyboardInterrupt from None
        except _USAGE_ERROR as error:  # typer would draw a box of several lines
            context, text = getattr(error, "ctx", None), error.format_message().removesuffix(".")
            if not text or "\n" in text:  # no arguments at all: the help, which some versions of typer print themselves
                typer.echo(text, err=True)
                raise SystemExit(2) from None
            help_of = f"{context.command_path if context else 'stylegan'} --help"
            raise UserError(f"{text[:1].lower()}{text[1:]}; `{help_of}` tells what there is") from None
    raise SystemExit(status if isinstance(status, int) else 0)


@app.callback()
def _commands() -> None:
    """Without a callback typer would leave the command's name out while there is only one."""


@command()
def prepare(
    source: Annotated[
        str | None,
        typer.Argument(help="A folder of images (sub-folders too), ZIP, TAR or LMDB, or faces3d for rendered faces."),
    ] = None,
    dest: Annotated[
        Path | None, typer.Argument(help="The archive to write: a ZIP if it ends in .zip, else a folder.")
    ] = None,
    inspect: Annotated[
        Path | None, typer.Option(help="Tell what this archive holds and draw a contact sheet; no SOURCE and DEST.")
    ] = None,
    resolution: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, or one number for both.")] = None,
    fit: Annotated[str | None, typer.Option(help="cover (crops, the default), contain, stretch or none.")] = None,
    resize: Annotated[str | None, typer.Option("--filter", help="box, bicubic or lanczos (the default).")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 RGB (the default) or 4 RGBA.")] = None,
    align: Annotated[
        str | None,
        typer.Option(help="Crop faces as FFHQ does: a file of landmarks (.json, .csv, .txt), or mtcnn[:FOLDER]."),
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Names of sub-folders become class labels.")] = False,
    labels_from: Annotated[
        Path | None, typer.Option(help="A .json, .csv or .txt file of labels by image name.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at a broken image instead of skipping it. --inspect: verify the hash."),
    ] = False,
    name: Annotated[str | None, typer.Option(help="The data set's name, recorded in the archive.")] = None,
    origin: Annotated[str | None, typer.Option(help="Where the images come from, recorded.")] = None,
    licence: Annotated[str | None, typer.Option(help="Their licence, recorded.")] = None,
    count: Annotated[
        str | None, typer.Option(help="Only the first so many images, or N/class of each; faces3d: 10000 by default.")
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="A random order; --count then takes a sample. --seed gives another one.")
    ] = False,
    min_size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT or one number: leave smaller images out. The rest is enlarged.")
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_PIXELS, help="Leave out images of more pixels (default 8192x8192, 67108864)."),
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(
            "--range",
            help="Black and white of 16-bit pixels: full (the default), auto (as many bits as they use) or LOW:HIGH.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_SEED, help="faces3d: another seed, other faces; of --shuffle (default 0)."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="faces3d: train (the default), test or evaluation.")] = None,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Threads; 0: one per core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DEST if it is an archive.")] = False,
) -> None:
    """Make an archive to train on, or tell what one holds. Run again, it goes on where it was interrupted."""
    for_images = {
        **{"--fit": fit, "--filter": resize, "--channels": channels, "--align": align, "--labels": labels or None},
        **{"--labels-from": labels_from, "--name": name, "--origin": origin, "--licence": licence},
        **{"--shuffle": shuffle or None, "--min-size": min_size, "--max-pixels": max_pixels, "--range": levels},
    }
    for_faces = {"--seed": None if shuffle else seed, "--split": split}
    for_both = {"--resolution": resolution, "--count": count, "--overwrite": overwrite or None}
    if inspect is not None:
        _refuse(
            {"SOURCE": source, "DEST": dest, **for_images, **for_faces, **for_both, "--seed": seed},
            "making an archive, not --inspect",
        )
        return _inspect(inspect, strict)
    if source is None or dest is None:
        raise UserError("stylegan prepare SOURCE DEST makes an archive, stylegan prepare --inspect ARCHIVE shows one")
    if source == FACES3D and not Path(source).exists():
        _refuse({**for_images, "--strict": strict or None}, "images of your own, not faces3d")
        total, per_class = _count(count)
        _refuse({f"--count {count}": per_class}, "images of your own, not faces3d")
        given = {"count": total, "seed": seed, "split": split}
        return _prepare_faces3d(dest, resolution, given, workers=workers, overwrite=overwrite)
    _refuse(for_faces, "faces3d, not images of your own")
    total, per_class = _count(count)
    _prepare_images(
        source,
        dest,
        resolution,
        fit=fit or "cover",
        resize=resize or "lanczos",
        channels=3 if channels is None else channels,
        align=align or "",
        labels=labels,
        labels_file=labels_from,
        count=total,
        count_per_class=per_class,
        shuffle=shuffle,
        seed=seed or 0,
        min_size=None if min_size is None else _resolution(min_size, "--min-size"),
        max_pixels=max_pixels,
        levels=levels or "full",
        workers=workers,
        strict=strict,
        overwrite=overwrite,
        name=name or "",
        origin=origin or "",
        licence=licence or "",
    )


@command()
def precompile(
    arch: Annotated[
        list[str] | None, typer.Option(help="Also CUDA kernels for this compute capability, such as 8.0; repeatable.")
    ] = None,
) -> None:
    """Compile the ops now, so that the first training does not have to."""
    from stylegan.ops.backend import build_all

    for library in build_all(arch or []):
        typer.echo(library)


@command()
def doctor() -> None:
    """Tell what works on this machine: compiler, CUDA, the ops against their reference, disk, versions."""
    from stylegan.doctor import examine

    findings = list(examine())
    for finding in findings:
        typer.echo(f"{finding.verdict.value:<8} {finding.subject:<16} {shown(finding.text)}")
    if any(finding.broken for finding in findings):
        raise typer.Exit(1)


@command()
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="demo64 (the default), wide64, mid128, paper256, or experiments such as demo."),
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            help="speed: seconds, against the machine's peak and the reference ops; cost: counts; growth: a table."
        ),
    ] = "speed",
    out: Annotated[Path | None, typer.Option(help="Write the numbers to this JSON file; replaced if there.")] = None,
    rounds: Annotated[int, typer.Option(max=MOST_TIMES, help="Repetitions; medians are shown.")] = 5,
    resolution: Annotated[
        int | None, typer.Option(max=MOST, help="Side of the images, instead of the configuration's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(max=MOST, help="Images of a batch, instead of the configuration's.")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16.")] = "fp32",
    threads: Annotated[int | None, typer.Option(max=1024, help="Threads of torch; otherwise its own choice.")] = None,
    clock: Annotated[
        str, typer.Option(help="wall, or cpu: seconds of the processor a thread (shared machines).")
    ] = "wall",
    reference: Annotated[bool, typer.Option(help="Also time the reference ops, in turns.")] = True,
) -> None:
    """Time the four phases of an iteration, or count what they cost on any machine.

    speed runs Gmain, Greg, Dmain and Dreg on random images, measures this machine's peak (a 3x3 convolution, float32 and
    bfloat16) in the same rounds, and shows the share of it that the weighted iteration Gmain + Greg/4 + Dmain + Dreg/16
    reaches. cost counts FLOPs, ops, bytes and what is kept for the backward pass, without computing. growth makes a table
    of these over resolutions from 32 to 1024 and batches from 1 to 64, with seconds up to 256 pixels at batch 4.
    """
    from stylegan.bench.report import BenchOptions, bench_cost, bench_growth
    from stylegan.bench.report import bench as bench_speed

    if out is not None and out.suffix != ".json":  # it is replaced
        raise UserError(f"--out {out}: give it a name that ends in .json")
    run = _choice("--measure", measure, {"speed": bench_speed, "cost": bench_cost, "growth": bench_growth})
    default = "paper256" if measure == "growth" else "demo64"
    run(
        BenchOptions(
            tuple(names or [default]),
            resolution=resolution,
            batch_size=batch_size,
            precision=precision,
            rounds=rounds,
            threads=threads,
            clock=clock,
            compare=reference,
            out=out,
        )
    )


def _prepare_images(
    source: str,
    dest: Path,
    resolution: str | None,
    *,
    fit: str,
    resize: str,
    levels: str,
    max_pixels: int | None,
    **options: Any,
) -> None:
    from stylegan.data.convert import Fit, ResizeFilter
    from stylegan.data.deep_pixels import parse_levels
    from stylegan.data.image_files import IMAGE_PIXELS
    from stylegan.data.parallel import thread_count
    from stylegan.data.prepare import ImageOptions, prepare_images

    if resolution is not None:
        H, W = _resolution(resolution)
        threads = thread_count(options["workers"])
        what = f"images of {W}x{H}, one for each of {threads} threads,"
        check_memory(threads * H * W * BYTES_OF_A_PIXEL, what, f"choose a smaller --resolution than {resolution}")
    result = prepare_images(
        source,
        dest,
        ImageOptions(
            None if resolution is None else _resolution(resolution),
            fit=_choice("--fit", fit, {item.value: item for item in Fit}),
            filter=_choice("--filter", resize, {item.value: item for item in ResizeFilter}),
            levels=parse_levels(levels),
            max_pixels=max_pixels or IMAGE_PIXELS,
            **options,
        ),
    )
    duplicates = f"{len(result.duplicates)} near-duplicates" if result.duplicates else ""
    parts = [", ".join(filter(None, [f"{result.count} images", duplicates, result.tally.told_noted()]))]
    parts += [f"not taken: {result.tally.told_left()}"] if result.tally.left else []
    parts += [f"listed in {result.report}"] if result.report else []
    typer.echo(shown(f"{result.path}: {'; '.join(parts)}"))


def _prepare_faces3d(
    dest: Path, resolution: str | None, given: dict[str, Any], *, workers: int, overwrite: bool
) -> None:
    from stylegan.data.prepare import FacesOptions, prepare_faces3d

    H, W = (64, 64) if resolution is None else _resolution(resolution)
    if H != W:
        raise UserError(f"--resolution {resolution}: faces3d renders squares; give one number")
    chosen = {key: value for key, value in given.items() if value is not None}
    result = prepare_faces3d(dest, FacesOptions(H, workers=workers, overwrite=overwrite, **chosen))
    typer.echo(f"{result.path}: {result.count} images")


def _inspect(archive: Path, verify: bool) -> None:
    from stylegan.data.image_files import CONTACT_SHEET
    from stylegan.data.inspection import contact_sheet, describe

    typer.echo(describe(archive, verify=verify))
    typer.echo(f"sheet      {contact_sheet(archive, f'{archive.resolve().stem}{CONTACT_SHEET}')}")


class _ListsMetrics(_Command):
    """A command whose help ends with all metrics; the table of them is read only then."""

    def get_help(self, ctx: Any) -> str:
        from stylegan.metrics.names import listed

        return "\n".join([super().get_help(ctx), "Metrics, with as many images as wanted:", *listed()])


@app.command(cls=_ListsMetrics)
def evaluate(
    network: Annotated[str, typer.Option(help=f"{NETWORK}, also a published .pkl or .pt.")],
    data: Annotated[Path, typer.Option(help="The archive of real images.")],
    metrics: Annotated[
        list[str],
        typer.Option(
            help="METRIC COUNT [_FEATURES], with commas, such as fid50k,kid5k_mobilenet_v2,attributes; all are listed below. "
            "May be repeated."
        ),
    ],
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Fixes latents, noise and subsets.")] = 0,
    repeats: Annotated[
        int, typer.Option(min=1, max=MOST_TIMES, help="Measure with so many seeds; tells mean and spread.")
    ] = 1,
    real_vs_real: Annotated[
        bool, typer.Option("--real-vs-real", help="A half of the real images instead of fakes: the floor.")
    ] = False,
    class_idx: Annotated[
        str | None, typer.Option(help="Only this class of a conditional network: its number, from 0, or its name.")
    ] = None,
    weights: Annotated[list[str] | None, typer.Option(help="NAME=FILE: weights of a network; may be repeated.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=MOST, help="Images at once.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    ops: Annotated[
        str,
        typer.Option(
            help="compiled, reference, or auto: compiled if built before or worth a build (10000 images or more)."
        ),
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Append the JSON line to this file, too.")] = None,
    pictures: Annotated[Path, typer.Option(help="Folder for METRIC.png of attributes; replaced if there.")] = Path(),
) -> None:
    """Measure a network: a JSON line on stdout, a table on stderr. torchrun -m stylegan.cli evaluate ... shares the work.

    kid, pr, dc and attributes hold a row of numbers for every image in memory; the others need the same for any number.
    """
    from stylegan.distributed import one_voice
    from stylegan.metrics.evaluate import check_places, evaluate_saved, tell, weight_files
    from stylegan.metrics.runner import Settings
    from stylegan.ops.backend import Backend

    with one_voice():
        check_places(out, pictures)
        settings = Settings(seed, batch, None, real_vs_real, weight_files(weights or []))
        backend = _choice("--ops", ops, {item.value: item for item in Backend})
        tell(
            evaluate_saved(
                network,
                data,
                ",".join(metrics).split(","),
                settings,
                repeats=repeats,
                device=device,
                backend=backend,
                class_idx=class_idx,
            ),
            out,
            pictures,
        )


@command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A snapshot (.safetensors), a .pkl of the public StyleGAN2-ADA, StyleGAN3 or R3GAN tools or of the official "
            "ProGAN or StyleGAN for TensorFlow, or a .pt of rosinality's StyleGAN2 or of this command."
        ),
    ],
    dest: Annotated[
        Path,
        typer.Argument(help="*.safetensors: a snapshot, with G and D if there are any. *.pt: the public tools' names."),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DEST.")] = False,
    half: Annotated[
        bool, typer.Option("--half", help="Convolutions in 16 bits: half the size; pictures differ by a grey level.")
    ] = False,
) -> None:
    """Read a published network, without running anything in its file, and write it in another form."""
    from stylegan.interop.convert import convert as run
    from stylegan.interop.difference import summands

    if summands(source)[1:]:
        from stylegan.inference import resolve_network

        source = resolve_network(source)
    for line in run(source, dest, overwrite=overwrite, half=half):
        typer.echo(shown(line))


@command()
def average(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was trained with optim.ema_power.")],
    sigma: Annotated[
        float,
        typer.Option(help="Length of the average, relative to the training: above 0, at most 0.25; 0.05 is usual."),
    ],
    out: Annotated[Path, typer.Option(help="The network, *.safetensors.")],
    kimg: Annotated[float | None, typer.Option(min=0.001, max=1e9, help="Until when; by default the last.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Make the network that another average of a run's G would have been, from those that it kept (optim.ema_power)."""
    from stylegan.training.rebuild import average as run_average

    typer.echo(shown(run_average(run, sigma, out, kimg=kimg, overwrite=overwrite)))


@command()
def attributes(
    data: Annotated[Path, typer.Option(help="An archive of faces3d, which holds the attributes.")],
    train: Annotated[bool, typer.Option("--train", help="Train a network; else tell how well one reads DATA.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="--train: where the weights go (attributes.safetensors; replaced if there); --weights attributes=FILE of "
            "evaluate takes them."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=MOST_TIMES, help="--train: how often each image is seen (10).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="--train: of weights, order and changes to images (0).")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="The network to test; by default the one that comes along.")
    ] = None,
) -> None:
    """Train the small network that reads sex, age, smile ... from faces, or tell how well it does."""
    from stylegan.metrics.attribute_training import TrainingOptions, test_attributes, train_and_save

    if train:
        _refuse({"--weights": weights}, "testing a network, not --train")
        given = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
        typer.echo(train_and_save(data, out or Path("attributes.safetensors"), TrainingOptions(**given)))
    else:
        _refuse({"--out": out, "--epochs": epochs, "--seed": seed}, "--train")
        typer.echo(test_attributes(data, weights))


@command()
def export(
    network: Annotated[str, typer.Argument(help=f"{NETWORK}.")],
    out: Annotated[Path, typer.Argument(help="NAME.onnx, or NAME.pt2 for torch.export.")],
    split: Annotated[
        bool,
        typer.Option("--split", help="NAME-mapping (z -> ws) and NAME-synthesis (ws -> image), instead of z -> image."),
    ] = False,
    noise: Annotated[str, typer.Option(help="Layer noise: const or none.")] = "const",
    truncation_cutoff: Annotated[
        int | None, typer.Option(min=0, max=MOST, help="The input psi moves only so many first layers.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of the network, such as cc-by-4.0; recorded in the file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a generator for programs that know nothing of stylegan, and check that it gives the same images to 1e-4.

    Inputs are z (standard normal), psi (truncation; 1 is off) and, with classes, c (one-hot), all float32, for any number of
    images. The file's metadata hold architecture, hashes, licences and settings.
    """
    from stylegan.inference import resolve_network
    from stylegan.interop.export import ExportOptions, export_network
    from stylegan.interop.networks import read_whole_snapshot

    source = resolve_network(network)
    options = ExportOptions(split, noise, truncation_cutoff, licence, overwrite)
    for file in export_network(source, read_whole_snapshot(source), out, options):
        typer.echo(f"{file.path}: {file.part}; differs from the network by {file.error:.1e} at most")


@command()
def serve(
    network: Annotated[str, typer.Argument(help=f"{NETWORK}, also a published .pkl or .pt.")] = "portrait",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where it listens; 0: any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="127.0.0.1: this machine alone; 0.0.0.0: everybody who reaches it.")
    ] = "127.0.0.1",
    directions: Annotated[
        Path | None,
        typer.Option(
            help="Directions kept by `stylegan directions`; by default those beside the network, or it finds some."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="An archive of real images of the network's size, for the quiz.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Pictures of a forward pass; by default by size.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1e6, help="Requests a second that one client may make.")] = 50.0,
    allow_upload: Annotated[
        bool, typer.Option("--allow-upload", help="Take photographs, and find them in the network.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A name by which browsers may ask, such as faces.example, behind a proxy; again for more."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Open a page that shows someone new at every reload: faces to mix, to find and to keep."""
    from stylegan.web.serve import ServeOptions
    from stylegan.web.serve import serve as run

    run(network, ServeOptions(host, port, device, directions, data, batch, rate, allow_upload, tuple(allow_host or ())))


@command()
def directions(
    network: Annotated[str, typer.Argument(help=f"{NETWORK}, also a published .pkl or .pt.")] = "demo",
    out: Annotated[
        Path | None,
        typer.Option(
            help="*.safetensors; by default beside the network, for those that come along in the working directory."
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(min=0, max=1000, help="How many principal components, and how many in closed form.")
    ] = 10,
    layers: Annotated[str, typer.Option(help="Layers that are moved: all, coarse, middle, fine, 0-3.")] = "all",
    scores: Annotated[
        Path | None, typer.Option(help="CSV of scores by seed (seed,age,...): a direction for each column.")
    ] = None,
    classifier: Annotated[
        Path | None, typer.Option(help="A network of `stylegan attributes --train`; for faces3d there is one.")
    ] = None,
    given: Annotated[str, typer.Option(help="Directions that those of attributes leave alone: sex,yaw.")] = "",
    class_idx: Annotated[str | None, typer.Option(help="Of a conditional network: number or name.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write all effects on attributes to this CSV file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Find directions in a network's latent space and keep them for `generate.py figure=edit figure.file=FILE`.

    Without supervision: principal components of w (GANSpace) and the closed form of its weights (SeFa). With it
    (InterFaceGAN): by scores, or by attributes that a network reads; for these a table says how far each direction moves what
    it is meant to, and how far the rest.
    """
    from stylegan.latent.finding import FindOptions, find_directions

    options = FindOptions(count, layers, scores, classifier, tuple(filter(None, given.split(","))), class_idx, table)
    for line in find_directions(network, out, options, device=device, overwrite=overwrite):
        typer.echo(shown(line))


@command()
def card(
    network: Annotated[str, typer.Argument(help=f"{NETWORK}.")],
    out: Annotated[Path | None, typer.Option(help="Write to this file, such as README.md, instead of stdout.")] = None,
    licence: Annotated[
        str | None, typer.Option(help="Under which you give the network away, such as cc-by-4.0.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="What stylegan evaluate --out wrote; its results for this file are taken over.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a network's model card: data and licence, training, metrics, use, limits, how to recognise its pictures."""
    from stylegan.files import atomic_write
    from stylegan.inference import resolve_network
    from stylegan.interop.card import model_card, read_evaluations
    from stylegan.interop.networks import read_whole_snapshot

    source = resolve_network(network)
    if out is not None and out.exists() and not overwrite:
        raise UserError(f"--out {out} exists already; choose another name, or replace it with --overwrite")
    found = [] if metrics is None else read_evaluations(metrics, source)
    text = model_card(source, read_whole_snapshot(source), licence=licence, evaluations=found)
    if out is None:
        return typer.echo(text, nl=False)
    atomic_write(out, text)
    typer.echo(out)


def _refuse(options: dict[str, object], belongs_to: str) -> None:
    given = [key for key, value in options.items() if value is not None]
    if given:
        raise UserError(f"{', '.join(given)}: only for {belongs_to}; leave it out")


def _choice(option: str, value: str, choices: dict[str, _Choice]) -> _Choice:
    if value not in choices:
        raise UserError(f"{option} {value}: {nearest(value, choices)}")
    return choices[value]


def _count(text: str | None) -> tuple[int | None, int | None]:
    """A count of all images, or of each class, from `N` or `N/class`."""
    number, slash, of_what = (text or "").partition("/")
    if text is not None and (not re.fullmatch("[1-9][0-9]{0,11}", number, re.ASCII) or (slash and of_what != "class")):
        raise UserError(f"--count {text}: give a number of images such as 1000, or 100/class for so many of each class")
    count = None if text is None else int(number)
    return (None, count) if slash else (count, None)


def _resolution(text: str, option: str = "--resolution") -> tuple[int, int]:
    """(H, W) from `WIDTHxHEIGHT` or one number."""
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(re.fullmatch("[1-9][0-9]{0,8}", side, re.ASCII) for side in sides):
        raise UserError(f"{option} {text}: give WIDTHxHEIGHT such as 64x64, or one number for both")
    return int(sides[-1]), int(sides[0])


if __name__ == "__main__":  # torchrun -m stylegan.cli
    main()
