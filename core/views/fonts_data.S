/* The font files as they are, so that the program needs no path at run time. */
.macro font name, file
  .global headscope_font_\name
  .global headscope_font_\name\()_end
  .balign 16
headscope_font_\name:
  .incbin "\file"
headscope_font_\name\()_end:
.endm

.section .rodata
font roboto_regular, "Roboto-Regular.ttf"
font roboto_medium, "Roboto-Medium.ttf"
font jetbrains_mono, "JetBrainsMono-Regular.ttf"
font dejavu_sans, "DejaVuSans.ttf"

.section .note.GNU-stack, "", %progbits
