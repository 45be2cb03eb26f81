# Run by every build: writes the commit that is checked out to HEADER, when it has changed.
#   cmake -D SOURCE=folder -D HEADER=commit.h -P Commit.cmake
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=7 --exclude "*"
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit unknown)
endif()
set(text "#pragma once\n#define HEADSCOPE_COMMIT \"${commit}\"\n")
if(EXISTS ${HEADER})
  file(READ ${HEADER} old)
endif()
if(NOT "${text}" STREQUAL "${old}")
  file(WRITE ${HEADER} "${text}")
endif()
