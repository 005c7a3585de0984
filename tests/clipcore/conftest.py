"""One thread: the tensors here are small, and waiting threads of a busy machine cost more than they bring."""

import torch

torch.set_num_threads(1)
