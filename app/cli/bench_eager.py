"""Hugging Face's side of `headscope bench --only model`: passes of a GPT-2 checkpoint, eager or SDPA.

The program holds this text and runs it by itself, in a process of its own:

    python -I -B /dev/fd/3 FOLDER eager|sdpa float32|bfloat16 THREADS CELLS SINK_TOKENS WINDOW_TOKENS

Requests and answers are those of app/cli/bench/serve.h. Eager computes the same statistics as HeadScope, each from the
layer's map as soon as it is there, head by head: the whole map is never kept beyond its layer, which is both the fastest
and the smallest way that was found. SDPA has no maps, so its passes compute none.
"""

import json
import os
import sys
import time


def answers():
    """The real standard output, kept for answers: whatever libraries print goes to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    return lambda **values: print(json.dumps(values), file=stream, flush=True)


def memory(field):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field + ":"))


def forget_peak():
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass  # the peak is then that of the process's whole life


class Statistics:
    """Row statistics and thumbnails of every layer's map, in the order of core/data/run_snapshot.h."""

    def __init__(self, model, cells, sink, window):
        self.cells, self.sink, self.window, self.rows, self.thumbnails = cells, sink, window, [], []
        for block in model.transformer.h:
            block.attn.register_forward_hook(self.take)

    def take(self, module, inputs, output):
        maps = output[1][0]  # [heads, rows, keys]
        found = [self.of(head) for head in maps]
        self.rows.append(torch.stack([rows for rows, _ in found], 1))
        self.thumbnails.append(torch.stack([thumbnail for _, thumbnail in found]))
        return (output[0], None, *output[2:])

    def of(self, p):
        tokens = p.shape[0]
        index = torch.arange(tokens)
        position = (index.double() / tokens - 0.5).float()  # around 0, for what squares lose
        mean, square, sink = (p @ torch.stack([position, position ** 2, (index < self.sink).float()], 1)).unbind(1)
        largest, key = p.max(1)
        near = torch.zeros(tokens)
        for back in range(min(self.window, tokens)):
            near[back:] += p.diagonal(-back)
        rows = [-torch.xlogy(p, p).sum(1), largest, key.float(), (position - mean) * tokens,
                (square - mean ** 2) * tokens ** 2, sink, near]
        return torch.stack(rows), self.thumbnail(p)

    def thumbnail(self, p):
        width = -(-p.shape[0] // self.cells)
        pooled = torch.nn.functional.max_pool2d(p[None, None], width, ceil_mode=True)[0, 0]
        out = torch.zeros(self.cells, self.cells)
        out[:pooled.shape[0], :pooled.shape[1]] = pooled
        return out

    def write(self, file):
        torch.stack(self.rows, 1).numpy().tofile(file)
        torch.stack(self.thumbnails).numpy().tofile(file)

    def clear(self):
        self.rows.clear()
        self.thumbnails.clear()


def operations(model):
    """Names of the attention operations that a short pass runs."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        model(torch.tensor([[0, 1, 2, 3]]), use_cache=False)
    names = {event.key for event in profile.key_averages()}
    return sorted(name for name in names if "attention" in name or "softmax" in name)


def one_pass(model, statistics, request):
    ids = torch.tensor([request["ids"]])
    if statistics:
        statistics.clear()
    forget_peak()
    begin = time.perf_counter()
    logits = model(ids, use_cache=False, logits_to_keep=1).logits
    seconds = time.perf_counter() - begin
    peak = memory("VmHWM")
    if request["results"]:
        with open(request["results"], "wb") as file:
            logits[0, -1].float().numpy().tofile(file)
            if statistics:
                statistics.write(file)
    return {"seconds": seconds, "peak_bytes": peak}


def step(model, cache, request):
    begin = time.perf_counter()
    logits = model(torch.tensor([[request["step"]]]), past_key_values=cache, use_cache=True).logits
    seconds = time.perf_counter() - begin
    if request["results"]:
        logits[0, -1].float().numpy().tofile(request["results"])
    return {"seconds": seconds}


def load(folder, implementation, dtype):
    model = transformers.GPT2LMHeadModel.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation=implementation).eval()
    found = model.config._attn_implementation
    if found != implementation:
        raise RuntimeError(f"transformers chose {found} attention instead of {implementation}")
    return model


def serve(send):
    folder, implementation, dtype, threads, *counts = sys.argv[1:]
    torch.set_num_threads(int(threads))
    transformers.utils.logging.disable_progress_bar()
    model = load(folder, implementation, dtype)
    ran = operations(model)
    statistics = Statistics(model, *map(int, counts)) if implementation == "eager" else None
    send(name=f"transformers {transformers.__version__}", operations=ran, loaded_bytes=memory("VmRSS"))
    cache = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prefill" in request:
            cache = model(torch.tensor([request["prefill"]]), use_cache=True, logits_to_keep=1).past_key_values
            send()
        elif "step" in request:
            send(**step(model, cache, request))
        else:
            send(**one_pass(model, statistics, request))


def main():
    global torch, transformers
    send = answers()
    try:
        import torch
        import transformers
    except ImportError as error:
        return send(error=f"{sys.executable} has no {error.name}, which this comparison needs")
    try:
        with torch.inference_mode():
            serve(send)
    except Exception as error:
        text = str(error).split("\n")[0][:300]
        send(error=f"Hugging Face's side failed: {type(error).__name__}: {text}")


main()
