/* Hugging Face's side of `headscope bench` as it is, so that the program needs no path at run time. */
.section .rodata
.global headscope_bench_eager
.global headscope_bench_eager_end
headscope_bench_eager:
  .incbin "bench_eager.py"
headscope_bench_eager_end:

.section .note.GNU-stack, "", %progbits
