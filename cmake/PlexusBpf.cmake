# SPDX-License-Identifier: Apache-2.0
# Kernel programs: each <name>.bpf.c becomes <name>.bpf.o and, by bpftool, the skeleton <name>.skel.h that carries the
# object inside the program that includes it.

# plexus_bpf_objects(<target> <source>...): an INTERFACE library whose users may include "<name>.skel.h".
function(plexus_bpf_objects target)
  add_library(${target} INTERFACE)
  if(NOT ARGN)
    return()
  endif()
  find_program(PLEXUS_BPF_CLANG NAMES clang-16 REQUIRED)
  find_program(PLEXUS_BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/skel)
  file(MAKE_DIRECTORY ${out})
  set(skeletons)
  foreach(source IN LISTS ARGN)
    cmake_path(GET source FILENAME file)
    string(REGEX REPLACE "\\.bpf\\.c$" "" name ${file})
    string(MAKE_C_IDENTIFIER ${name} identifier)
    set(object ${out}/${name}.bpf.o)
    # -mcpu=v3: 32-bit registers and jumps, in every kernel from 5.1. -g: the BTF that maps and CO-RE need.
    # -fno-strict-aliasing: keys are written by fields and compared as words.
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${PLEXUS_BPF_CLANG} -O2 -g -target bpf -mcpu=v3
              -fno-strict-aliasing -std=gnu11 -Wall -Werror
              -I${CMAKE_CURRENT_SOURCE_DIR} -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
              -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
      DEPENDS ${source}
      DEPFILE ${object}.d
      COMMENT "BPF ${file}"
      VERBATIM)
    add_custom_command(
      OUTPUT ${out}/${name}.skel.h
      COMMAND ${PLEXUS_BPFTOOL} gen skeleton ${object} name ${identifier} > ${out}/${name}.skel.h
      DEPENDS ${object}
      COMMENT "BPF ${name}.skel.h"
      VERBATIM)
    list(APPEND skeletons ${out}/${name}.skel.h)
  endforeach()
  add_custom_target(${target}_skeletons DEPENDS ${skeletons})
  add_dependencies(${target} ${target}_skeletons)
  # SYSTEM: the generated code does not pass our warnings.
  target_include_directories(${target} SYSTEM INTERFACE ${out})
endfunction()
