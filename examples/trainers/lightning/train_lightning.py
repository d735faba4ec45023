"""A Lightning training that announces its checkpoints. Only the marked lines are special."""

import sys

import lightning
import torch
from checkpoint_ready_callback import CheckpointSender  # 1
from checkpoint_ready_io import AnnouncingCheckpointIO  # 2
from lightning.pytorch.callbacks import ModelCheckpoint

url, run_id, folder = sys.argv[1:]


class Regression(lightning.LightningModule):
    """One linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """Return the loss."""
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.layer(inputs), targets)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


sender = CheckpointSender(url, run_id, folder)  # 3
sender.resume()  # 4: what an earlier process saved but did not send
plugin = AnnouncingCheckpointIO(sender, {"train_loss": "train_loss"})  # 5
trainer = lightning.Trainer(
    default_root_dir=folder,
    max_steps=6,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    callbacks=[ModelCheckpoint(dirpath=folder, every_n_train_steps=2, save_top_k=-1)],
    plugins=[plugin],  # 6
)
plugin.trainer = trainer  # 7
data = torch.utils.data.TensorDataset(torch.randn(64, 8), torch.randn(64, 1))
trainer.fit(Regression(), torch.utils.data.DataLoader(data, batch_size=8))
sender.close()  # 8: waits a bounded time
