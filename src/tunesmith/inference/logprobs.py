"""From logits to what is told about tokens: their log-probabilities and those of likelier ones."""

from collections.abc import Sequence as List

import torch
from torch import Tensor

from tunesmith.domain.generation import TokenLogprobs
from tunesmith.inference.sequence import Sequence

HOPELESS = -9999.0  # stands for all that is less


def sampled_logprobs(
    logits: Tensor, sequences: List[Sequence], token_ids: List[int | None]
) -> list[TokenLogprobs | None]:
    """Of each sequence's sampled token, [N, V] → N; None where nobody asked or none was sampled."""
    asked = [
        (row, token_id, sequence.params.logprobs)
        for row, (sequence, token_id) in enumerate(zip(sequences, token_ids, strict=True))
        if token_id is not None and sequence.params.logprobs is not None
    ]
    found: list[TokenLogprobs | None] = [None] * len(sequences)
    if asked:
        rows, chosen, num_tops = zip(*asked, strict=True)
        for row, told in zip(rows, tell(logits[list(rows)], chosen, num_tops), strict=True):
            found[row] = told
    return found


def tell(logits: Tensor, token_ids: List[int], num_tops: List[int]) -> list[TokenLogprobs]:
    """Of one token in each row of logits [N, V], with that many of the likeliest. NaN where
    logits aren't numbers."""
    logits = logits.float()
    chosen = torch.tensor(token_ids, device=logits.device).unsqueeze(-1)
    own = logits.gather(-1, chosen)
    ranks = (logits > own).sum(-1) + 1
    # log_softmax(x) = x - logsumexp(x): only what is told need be computed.
    norms = logits.logsumexp(-1, keepdim=True)
    norms = norms.where(norms.isfinite(), torch.nan)
    top, top_ids = logits.topk(min(max(num_tops), logits.shape[-1]), dim=-1)
    return [
        TokenLogprobs(token_id, logprob, rank, tuple(zip(ids[:num_top], tops, strict=False)))
        for token_id, logprob, rank, ids, tops, num_top in zip(
            token_ids,
            (own - norms).clamp(min=HOPELESS).squeeze(-1).tolist(),
            ranks.tolist(),
            top_ids.tolist(),
            (top - norms).clamp(min=HOPELESS).tolist(),
            num_tops,
            strict=True,
        )
    ]
