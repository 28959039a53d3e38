"""Hierarchical Memory Attention (HMA): one layer, its memory and the rule by which it forgets (METHOD, section 4).

A layer meets its past in one of two ways, with the same numbers: `step` carries the memory of live streams from clip to clip;
`forward` runs all clips of many videos at once, since what a clip remembers is decided by one number per clip.

Shapes: B streams, N clips (packed over videos), T snippets per clip, D width, M remembered clips.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_SALIENT = 100.0  # bounds the odds that `salience` counts with, and with them how long a moment can outlive others
CHUNK = 512  # clips that attend at a time: it bounds the memory that long videos take, and fits caches


class Memory(NamedTuple):
    """What one layer remembers of B streams. A value: a step makes a new one. Empty slots come first, then oldest first."""

    entries: Tensor  # (B, M, T, D/2) compressed clips, detached
    strength: Tensor  # (B, M) float64, s of each entry, as the rule counts it
    age: Tensor  # (B, M) int64, clips since the entry joined; -1 = empty slot

    def emptied(self, streams: Tensor) -> "Memory":
        """The memory with the given streams' slots empty; streams is a (B,) mask."""
        return self._replace(age=self.age.masked_fill(streams.unsqueeze(1), -1))


class Rule(NamedTuple):
    """A forgetting rule: how far the entries of (B, M + 1) strength s and age, as in `survivors`, have faded, and what s is."""

    decay: Callable[[Tensor, Tensor], Tensor]  # -log R = t / s of each
    by_odds: bool = False  # s is the odds that the clip is anomalous, not the sigmoid of its mean
    backwards: bool = False  # the newest fades first, and s of a clip that joins is of the clip uncompressed


def slots(age: Tensor) -> Tensor:
    """The places of the entries: (M + 1,)."""
    return torch.arange(age.shape[1], device=age.device)


def share_of_oldest(strength: Tensor, age: Tensor) -> Tensor:
    """-log R where t is an entry's age as a share of the oldest's."""
    return age.double() / age[:, :1] / strength


RULES = {  # option.FORGETTING says what they are
    "ebbinghaus": Rule(share_of_oldest),
    "fifo": Rule(lambda s, age: age.double()),  # t: its age, whatever its strength
    "salience": Rule(share_of_oldest, by_odds=True),
    "released": Rule(lambda s, age: slots(age).double() / (age.shape[1] - 1) / s, backwards=True),  # its place, the oldest's 0
}


def survivors(rule: str, strength: Tensor, age: Tensor) -> Tensor:
    """The forgetting rule: of M + 1 slots, oldest first and the newest clip last, which M stay.

    An empty slot goes first; else the entry of least retention R = exp(-t / s), the oldest of equals.

    Args:
        strength: (B, M + 1) float64, s above 0. age: (B, M + 1) int64, -1 = empty.
    Returns: (B, M) int64 slots in their order.
    """
    dropped = RULES[rule].decay(strength, age).masked_fill(age < 0, torch.inf).argmax(1, keepdim=True)
    stay = slots(age)[:-1]
    return stay + (stay >= dropped)


def remembered(rule: str, strength: Tensor, newest: Tensor, segment: Tensor, capacity: int) -> Tensor:
    """Which clips each clip of whole videos remembers: what `Memory` would hold when the clip arrives.

    The guess of `usual` is checked against the rule in one go; only the segments where it fails (most, under `salience`) are
    replayed, all at once. The tensors are the CPU's: these are many small steps, which a GPU would only wait for.

    Args:
        strength: (N,) float64, of each clip as an entry. newest: (N,) float64, of each clip when it joins.
        segment: (N,) int64, ascending: clips of different segments never see each other.
    Returns: (N, capacity) int64 indices of clips, oldest first; -1 = empty slot, empty slots first.
    """
    table = usual(rule, segment, capacity)
    if capacity == 0:
        return table

    def after(rows: Tensor, n: Tensor) -> Tensor:
        """The rows that follow from these rows once the clips n have joined."""
        joined = torch.cat((rows, n.unsqueeze(1)), 1)  # (B, M + 1)
        s = torch.cat((strength[rows], newest[n].unsqueeze(1)), 1)
        age = (n.unsqueeze(1) - joined).masked_fill(joined < 0, -1)
        return joined.gather(1, survivors(rule, s, age))

    followed = 1 + (segment[1:] == segment[:-1]).nonzero().squeeze(1)  # every clip but the first of a segment
    wrong = (after(table[followed - 1], followed - 1) != table[followed]).any(1)
    replay(table, segment, segment[followed[wrong]].unique(), after)
    return table


def usual(rule: str, segment: Tensor, capacity: int) -> Tensor:
    """What is remembered on nearly all videos, as `remembered` returns it: the newest, or, where they fade first, the first."""
    n = torch.arange(len(segment), device=segment.device)
    start = torch.searchsorted(segment, segment)
    last = torch.minimum(n, start + capacity) if RULES[rule].backwards else n
    table = last.unsqueeze(1) - capacity + torch.arange(capacity, device=segment.device)  # (N, M)
    return table.masked_fill(table < start.unsqueeze(1), -1)


def replay(table: Tensor, segment: Tensor, ids: Tensor, after: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Write the rows of these segments into the (N, M) table, clip by clip, the segments side by side."""
    first, end = torch.searchsorted(segment, ids), torch.searchsorted(segment, ids, right=True)
    rows = table.new_full((len(ids), table.shape[1]), -1)
    for t in range(int((end - first).max()) if len(ids) else 0):
        going = first + t < end
        first, end, rows = first[going], end[going], rows[going]
        table[first + t] = rows
        rows = after(rows, first + t)


class Compressed(NamedTuple):
    """A clip as a layer sees it."""

    k: Tensor  # (N, T, D) normalised
    c: Tensor  # (N, T, D/2) compressed, the query
    entry: Tensor  # (N, T, D/2) the same, detached, as later clips remember it


class MLP(nn.Module):
    """Linear D -> 4D, QuickGELU, Linear 4D -> D."""

    def __init__(self, width: int):
        super().__init__()
        self.fc = nn.Linear(width, 4 * width)
        self.proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(F.silu(self.fc(x) * 1.702) / 1.702)  # QuickGELU: x sigmoid(1.702 x) = silu(1.702 x) / 1.702

    def folded(self) -> nn.Sequential:
        """A copy to score with: the two products by a constant are in the weights."""
        fc, proj = copy.deepcopy(self.fc), copy.deepcopy(self.proj)
        with torch.no_grad():
            for weight, factor in ((fc.weight, 1.702), (fc.bias, 1.702), (proj.weight, 1 / 1.702)):
                weight *= factor
        return nn.Sequential(fc, nn.SiLU(), proj)


class HMA(nn.Module):
    """One layer. `capacity` is the number of clips it remembers; `p` the share of plain attention beside the memory's."""

    def __init__(
        self,
        *,
        width: int,
        window: int,
        capacity: int,
        p: float,
        forgetting: str,
        attn_merge: str,
        drop_rate: float = 0.0,
        drop_attn_rate: float = 0.0,
        drop_qkv_rate: float = 0.0,
    ):
        super().__init__()
        self.capacity, self.p, self.forgetting, self.interleave = capacity, p, forgetting, attn_merge == "interleave"
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.compress_memory = nn.Conv1d(window, window, 3, stride=2, padding=1, bias=False)  # along the channels
        self.compress_current = nn.Conv1d(window, window, 3, stride=2, padding=1, bias=False)
        self.up = nn.Linear(width // 2, width)
        self.mlp = MLP(width)
        self.drop, self.drop_attn, self.drop_qkv = (nn.Dropout(r) for r in (drop_rate, drop_attn_rate, drop_qkv_rate))

    def forward(self, x: Tensor, segment: Tensor, odds: Tensor | None) -> Tensor:
        """All clips of whole videos: x (N, T, D), segment (N,) int64 ascending, odds as in `strengths` -> (N, T, D)."""
        k, c, entry = self.compress(x)
        strength, newest = (s.cpu() for s in self.strengths(entry, k, odds))
        table = remembered(self.forgetting, strength, newest, segment.cpu(), self.capacity).to(x.device)  # (N, M)
        known = table >= 0
        own = torch.arange(len(x), device=x.device).unsqueeze(1)
        table = torch.where(known, table, own)  # a masked slot must not be a clip of another video: 0 * NaN is NaN
        chunks = (slice(i, i + CHUNK) for i in range(0, len(x), CHUNK))
        return torch.cat([self.attend(k[at], c[at], entry[table[at]], known[at]) for at in chunks])

    def step(self, x: Tensor, memory: Memory, odds: Tensor | None) -> tuple[Tensor, Memory]:
        """One clip of each of B streams: x (B, T, D) -> (B, T, D) and the memory that the next clip meets."""
        k, c, entry = self.compress(x)
        return self.attend(k, c, memory.entries, memory.age >= 0), self.remember(memory, k, entry, odds)

    def remember(self, memory: Memory, k: Tensor, entry: Tensor, odds: Tensor | None) -> Memory:
        """The memory that the next clip meets: k (B, T, D) and entry (B, T, D/2) of this one join, and one clip is dropped."""
        if self.capacity == 0:
            return memory
        strength, newest = self.strengths(entry, k, odds)
        age = F.pad(memory.age + (memory.age >= 0), (0, 1))  # (B, M + 1), the newest's 0
        keep = survivors(self.forgetting, torch.cat((memory.strength, newest.unsqueeze(1)), 1), age)  # (B, M)
        stream = torch.arange(k.shape[0], device=k.device).unsqueeze(1)  # torch.export takes len(k) for a constant
        return Memory(
            torch.cat((memory.entries, entry.to(memory.entries).unsqueeze(1)), 1)[stream, keep],
            torch.cat((memory.strength, strength.unsqueeze(1)), 1)[stream, keep],
            age[stream, keep],
        )

    def compress(self, x: Tensor) -> Compressed:
        """Normalise and compress: (N, T, D) -> k (N, T, D), c (N, T, D/2), and c as it is remembered."""
        k = self.norm1(x)
        c = self.compress_memory(k)
        return Compressed(k, c, c.detach())  # remembered clips are no path for gradients: a stream would never end

    def strengths(self, entry: Tensor, k: Tensor, odds: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N,) float64 each: of a clip as an entry, and when it joins.

        odds: (N,) that clips are anomalous, as the model sees them when they enter, where the rule asks for them; else None.
        """
        if RULES[self.forgetting].by_odds:
            strength = odds.double().clamp(1 / MOST_SALIENT, MOST_SALIENT)
            return strength, strength
        strength = sigmoid_of_mean(entry)
        return strength, sigmoid_of_mean(k) if RULES[self.forgetting].backwards else strength

    def attend(self, k: Tensor, c: Tensor, past: Tensor, known: Tensor) -> Tensor:
        """The layer on clips k (N, T, D), c (N, T, D/2) that remember past (N, M, T, D/2) where known (N, M)."""
        new = (~known.any(1)).nonzero().squeeze(1)
        a = self.remembering(k, c, past, known) if len(new) < len(k) else torch.empty_like(k)
        if len(new):
            a = a.index_copy(0, new, self.alone(k[new]).to(a.dtype))
        return self.onward(k, a)

    def alone(self, k: Tensor) -> Tensor:
        """The attention of clips that remember nothing, to themselves at full width: (N, T, D) -> (N, T, D)."""
        return (1 + self.p) * self.attention(k, k, None)

    def remembering(self, k: Tensor, c: Tensor, past: Tensor, known: Tensor) -> Tensor:
        """The attention of the others, as `attend` takes them, to what they remember: -> (N, T, D)."""
        u = self.compress_current(k)
        keys = torch.cat((past.to(u.dtype), u.unsqueeze(1)), 1).flatten(1, 2)  # (N, (M+1)T, D/2)
        seen = F.pad(known, (0, 1), value=True).repeat_interleave(k.shape[1], 1)  # (N, (M+1)T)
        a = self.attention(c, keys, seen)
        if self.p:
            a = a + self.p * self.attention(c, c, None)
        return self.up(a)

    def onward(self, k: Tensor, a: Tensor) -> Tensor:
        """From a clip and its attention to the layer's output: (N, T, D) each -> (N, T, D)."""
        y = k + self.drop(a)
        return y + self.drop(self.mlp(self.norm2(y)))

    def attention(self, q: Tensor, k: Tensor, seen: Tensor | None) -> Tensor:
        """merge(softmax(q k^T / sqrt(w)) k + q), w the width.

        q: (N, T, w). k: (N, T', w), keys and values. seen: (N, T') which of them, None = all. Returns (N, T, w).
        """
        q, k = self.drop_qkv(q), self.drop_qkv(k)
        weights = q @ k.transpose(1, 2) / q.shape[2] ** 0.5  # (N, T, T')
        if seen is not None:
            weights = weights.masked_fill(~seen.unsqueeze(1), -torch.inf)
        out = self.drop_attn(weights.softmax(2)) @ k + q
        # a leftover head-merge that the released weights were trained with: it mixes snippets and channels
        return out.transpose(1, 2).reshape(out.shape) if self.interleave else out


def sigmoid_of_mean(x: Tensor) -> Tensor:
    """s of each clip: (N, T, D) or (N, T, D/2) -> (N,) float64 in (0, 1]."""
    return x.mean((1, 2), dtype=torch.float64).sigmoid().clamp_min(torch.finfo(torch.float64).tiny)
