"""What the peers on PyTorch share: batches of drawn images, and a step."""

import torch
from common import images


def batches(size, data=None):
    """Endless batches of `size` images, shuffled and drawn anew, float [size, 784]."""
    data = torch.from_numpy(images() if data is None else data)
    while True:
        for idx in torch.randperm(len(data)).split(size):
            if len(idx) == size:
                b = data[idx]
                yield (torch.rand(b.shape) * 255 < b).float()


def step_of(opt, loss_fn):
    """A training step of a batch, which returns its loss."""

    def step(x):
        opt.zero_grad(set_to_none=True)
        loss = loss_fn(x)
        loss.backward()
        opt.step()
        return loss

    return step
