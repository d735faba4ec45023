"""A training of a few seconds: a small random GPT-2 on random tokens, on the CPU."""

import sys

import torch
from checkpoint_ready_callback import CheckpointReadyCallback
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

url, run_id, folder = sys.argv[1:]
tokens = [{"input_ids": row, "labels": row} for row in torch.randint(0, 64, (32, 16))]
model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=16, n_layer=1, n_head=2))
arguments = TrainingArguments(
    output_dir=folder,
    max_steps=6,
    save_steps=2,
    eval_strategy="steps",
    eval_steps=2,
    logging_steps=1,
    per_device_train_batch_size=4,
    use_cpu=True,
    report_to=[],
)
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=tokens,
    eval_dataset=tokens[:4],
    callbacks=[CheckpointReadyCallback(url, run_id, base_model="gpt2")],
)
trainer.train()
