/* The Python part of `headscope import` as it is, so that the program needs no path at run time. */
.section .rodata
.global headscope_import_pickles
.global headscope_import_pickles_end
headscope_import_pickles:
  .incbin "import_pickles.py"
headscope_import_pickles_end:

.section .note.GNU-stack, "", %progbits
