"""pythae peer: its IWAE (its VAE when k is 1) with the same networks. Normal latents. Prints one JSON line."""

import torch
import torch.nn as nn
from common import arguments, report
from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch_data import batches, step_of

args = arguments(__doc__)
torch.manual_seed(0)
H, D = args.hidden, args.latent


class Encoder(BaseEncoder):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(784, H), nn.Tanh(), nn.Linear(H, H))
        self.mean, self.log_var = nn.Linear(H, D), nn.Linear(H, D)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))


class Decoder(BaseDecoder):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(D, H), nn.Tanh(), nn.Linear(H, H), nn.Tanh(), nn.Linear(H, 784)
        )

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.body(z)))


how = {"input_dim": (784,), "latent_dim": D, "reconstruction_loss": "bce"}
if args.k == 1:
    model = VAE(VAEConfig(**how), Encoder(), Decoder())
else:
    model = IWAE(IWAEConfig(**how, number_samples=args.k), Encoder(), Decoder())
opt = torch.optim.Adam(model.parameters(), 1e-3)
step = step_of(opt, lambda x: model({"data": x}).loss)
report("pythae", args, step, batches(args.batch), lambda loss: loss.item())
