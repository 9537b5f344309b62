"""Make models of random parameters that vLLM can serve: `tiny_model.py KIND DIRECTORY`.

They answer nonsense, but through every layer of a real engine.  KIND is `text`
(0.34 M parameters; it also embeds, with `--runner pooling`) or `speech` (a
Whisper of 0.9 M).  The head size has to be 64: with 16 the CPU engine dies at
its first request.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

SENTENCE = "The quick brown fox jumps over the lazy dog while the model loads its weights."
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"
)
# What vLLM begins a transcription with, and what it needs to exist.
START = "<|startoftranscript|>"
MARKS = [START, *(f"<|{mark}|>" for mark in (
    "en", "de", "translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps",
))]  # fmt: skip


def make_tokenizer() -> Tokenizer:
    """Train a byte-level BPE tokenizer on one sentence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([SENTENCE], trainer)
    return tokenizer


def write_text(directory: Path) -> None:
    """Write a Qwen2 of two layers."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(), eos_token="<end>", pad_token="<end>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    config = Qwen2Config(
        vocab_size=max(320, len(tokenizer)),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)


def write_speech(directory: Path) -> None:
    """Write a Whisper of two and two layers."""
    raw = json.loads(make_tokenizer().to_str())["model"]
    merges = [tuple(pair) for pair in raw["merges"]]
    vocabulary = {**raw["vocab"], "<|endoftext|>": len(raw["vocab"])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(directory)
    end, start = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(START)
    marks = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
    }
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=80,
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_source_positions=1500,
        max_target_positions=448,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **marks,
    )
    model = WhisperForConditionalGeneration(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(**marks)
    model.save_pretrained(directory)


def main() -> None:
    """Write tokenizer, configuration and weights."""
    kind, directory = sys.argv[1], Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    {"text": write_text, "speech": write_speech}[kind](directory)


main()
