"""A plain PyTorch loop that announces its checkpoints. Only the marked lines are special."""

import sys
from pathlib import Path

import torch
from checkpoint_ready_callback import CheckpointSender  # 1

url, run_id, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
folder.mkdir(parents=True, exist_ok=True)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
inputs, targets = torch.randn(64, 8), torch.randn(64, 1)

sender = CheckpointSender(url, run_id, folder)  # 2: in one process (rank 0)
sender.resume()  # 3: what an earlier process saved but did not send
for step in range(1, 7):
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 2 == 0:
        path = folder / f"checkpoint-{step}.pt"
        temporary = path.with_suffix(".tmp")
        torch.save(model.state_dict(), temporary)
        temporary.replace(path)  # so the file is complete when it exists
        sender.announce(path, step, {"train_loss": loss.item()})  # 4
sender.close()  # 5: waits a bounded time
