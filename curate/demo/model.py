"""The demo's own language model: Llama-shaped, 700,000 parameters, trained on the spot and cached."""

import hashlib
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from curate.contracts import Example
from curate.contracts.libraries import versions_of
from curate.contracts.progress import Progress, SilentProgress
from curate.demo.pool import build_pool, build_test_split
from curate.demo.skills import PLAIN_WORDINGS, SKILLS, draw_task
from curate.errors import StoreError
from curate.models.pretrained import no_progress_bar
from curate.models.text.templates import TEMPLATES, Span
from curate.store.cache import cache_folder
from curate.store.locks import claimed

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from curate.demo.train import Line, Schedule

VOCABULARY: Final = 1024
CONTEXT: Final = 512
PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
SPECIAL_TOKENS: Final = (PAD, BEGIN, END)  # the padding token has id 0

# A conversation looks like GRAPE's scoring prompt, so that one way of reading serves both. The space
# after "Answer:" belongs to the response: tokens of this vocabulary begin with their space.
CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if not loop.first %}{{ ' \\n ' }}{% endif %}"
    "{% if message['role'] == 'assistant' %}Answer:"
    "{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}"
    "{% elif message['role'] == 'user' %}{{ 'Question: ' + message['content'] }}"
    "{% else %}{{ message['content'] }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ ' \\n Answer:' }}{% endif %}"
)

_ALONE_SHARE: Final = 0.05  # texts without a prompt, so that a lone response is no surprise
# IFD writes its prompts in Alpaca's words. A model that never read them is misled by every
# instruction that is written so, and IFD, which leaves such examples out, tells little of the pool.
_ALPACA_SHARE: Final = 0.1
_LONE_LEADS: Final = {"grape": "", "alpaca": "### Response:"}  # before a response without a prompt
_WORDING_WEIGHTS: Final = (2, 1, 1)
_PRACTICE: Final = ("add", "add")  # facts to remember: drawn three times as often as other skills
_SEED: Final = 0
_POLL_S: Final = 0.2
_SOURCES: Final = (
    "demo/skills.py", "demo/pool.py", "demo/train.py", "demo/model.py", "models/text/templates.py",
)  # fmt: skip


def ensure_model(progress: Progress | None = None) -> Path:
    """Return the folder of the trained demo model; train it first if this machine has none.

    Half a minute on two cores, once: the folder lies in the user's cache (``CURATE_CACHE``, or
    ``curate`` under ``XDG_CACHE_HOME`` or ``~/.cache``), under a name that changes with the code and
    the versions of the libraries that made it. It appears whole or not at all. While another process
    trains it, this one waits for it; where the cache's file system has no locks, both train, and the
    first to finish wins.
    """
    folder = cache_folder() / f"demo-{_fingerprint()}"
    progress = progress or SilentProgress()
    waits = False
    while not folder.is_dir():
        with _claimed_where_possible(folder.with_name(f".{folder.name}.lock")) as is_ours:
            if is_ours and not folder.is_dir():
                from curate.demo.train import Schedule

                build_model(folder, Schedule(), progress)
        if not is_ours:
            if not waits:
                progress.note("another process trains the demo model; waiting for it")
            waits = True
            time.sleep(_POLL_S)
    return folder


@contextmanager
def _claimed_where_possible(path: Path) -> Iterator[bool]:
    """Hold the lock of a file as `claimed` does; True without one where the file system has none."""
    with ExitStack() as stack:
        try:
            is_ours = stack.enter_context(claimed(path))
        except StoreError:
            is_ours = True
        yield is_ours


def build_model(folder: Path, schedule: "Schedule", progress: Progress) -> None:
    """Train tokenizer and model and save both in Hugging Face form; replace nothing that is there."""
    from curate.demo.train import train

    rng = random.Random(f"model {_SEED}")
    tokenizer = build_tokenizer()
    model = _untrained(tokenizer.get_vocab_size())
    lines = _LineSource(tokenizer, rng)
    train(model, lines.draw, schedule, rng, progress)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        made = Path(temporary) / "model"
        with no_progress_bar():
            model.save_pretrained(made)
        _wrapped(tokenizer).save_pretrained(made)
        _move_into_place(made, folder)


def build_tokenizer() -> "Tokenizer":
    """Train a byte-level BPE tokenizer on the pool's text, with every digit a token of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(), trainer)
    begin = (BEGIN, tokenizer.token_to_id(BEGIN))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[begin]
    )
    return tokenizer


class _LineSource:
    """Fresh tasks with right answers in plain words, dressed and tokenised, without end."""

    def __init__(self, tokenizer: "Tokenizer", rng: random.Random) -> None:
        self._tokenizer = tokenizer
        self._rng = rng
        self._skills = [SKILLS[name] for name in (*SKILLS, *_PRACTICE)]
        rows = [row.prompt for row in build_pool()] + [row["prompt"] for row in build_test_split()]
        self._held_out = frozenset(rows)

    def draw(self, n: int) -> list["Line"]:
        """Return the next n lines."""
        dressed = [self._text() for _ in range(n)]
        encodings = self._tokenizer.encode_batch(
            [text for text, _ in dressed], add_special_tokens=False
        )
        return [
            (encoding.ids, [start < end and end > span[0] for start, end in encoding.offsets])
            for encoding, (_, span) in zip(encodings, dressed, strict=True)
        ]

    def _text(self) -> tuple[str, Span]:
        """Return a text and the span of it that the loss counts, end token included."""
        task = draw_task(self._rng.choice(self._skills), self._rng)
        while task.prompt in self._held_out:
            task = draw_task(task.skill, self._rng)
        [wording] = self._rng.choices(PLAIN_WORDINGS, _WORDING_WEIGHTS)
        response = task.say(task.answer, wording)
        prompt = None if self._rng.random() < _ALONE_SHARE else task.prompt
        template = "alpaca" if self._rng.random() < _ALPACA_SHARE else "grape"
        lead, answer = written(template, prompt, response)
        text = f"{BEGIN}{lead}{answer}{END}"
        return text, (len(BEGIN) + len(lead), len(text))


def written(template: str, prompt: str | None, response: str) -> tuple[str, str]:
    """Return what a scorer with this template writes before a response, and the response.

    Without a prompt that is what IFD writes before a lone response. A space before the response
    belongs to it: tokens of this vocabulary begin with theirs.
    """
    if prompt is None:
        return _LONE_LEADS[template], response
    asked, answered = (
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": response},
    )
    text, [(start, _)] = TEMPLATES[template].render(Example("", (asked, answered)))
    lead = text[:start].rstrip(" ")
    return lead, text[len(lead) :]


def _tokenizer_text() -> Iterable[str]:
    for row in build_pool():
        yield row.response
        for template in _LONE_LEADS:
            yield "".join(written(template, row.prompt, row.response))


def _untrained(vocabulary: int) -> "LlamaForCausalLM":
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=336,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},  # texts are short
        initializer_range=0.08,  # about 1 / sqrt(hidden size): learns many times faster than 0.02
        pad_token_id=SPECIAL_TOKENS.index(PAD),
        bos_token_id=SPECIAL_TOKENS.index(BEGIN),
        eos_token_id=SPECIAL_TOKENS.index(END),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return LlamaForCausalLM(config)


def _wrapped(tokenizer: "Tokenizer") -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _move_into_place(made: Path, folder: Path) -> None:
    """Give a finished folder its name; another process may have finished the same one first."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _fingerprint() -> str:
    """Hash everything the model depends on: the code that makes it, and the libraries."""
    digest = hashlib.blake2b(digest_size=8)
    package = Path(__file__).parent.parent
    for name in _SOURCES:
        digest.update((package / name).read_bytes())
    for library, version in versions_of(("torch", "transformers", "tokenizers")).items():
        digest.update(f"{library} {version}".encode())
    return digest.hexdigest()
