# SPDX-License-Identifier: Apache-2.0
# Compiler settings for everything we compile: build types, warnings, ccache, sanitizers.

# A plain `cmake -B build` gives what the release preset gives.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()
# -g1: line tables and function names, enough for a back trace, at a third of the size of -g.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
set(CMAKE_C_FLAGS_DEBUG "-O0 -g")

# PLEXUS_SANITIZE: comma-separated list for -fsanitize=, e.g. "address,undefined" or "thread".
set(PLEXUS_SANITIZE "" CACHE STRING "Sanitizers to build with (value of -fsanitize=)")
if(PLEXUS_SANITIZE)
  add_compile_options(-fsanitize=${PLEXUS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PLEXUS_SANITIZE})
  if(PLEXUS_SANITIZE MATCHES "address" AND PLEXUS_SANITIZE MATCHES "undefined")
    # A null pointer and the end of an object are the address sanitizer's to find; these checks of every access make
    # compiling a third slower.
    add_compile_options(-fno-sanitize=null,object-size)
  endif()
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
  set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O1 -g1")
endif()

set(PLEXUS_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports std::string's own inlined code (GCC bug 105651).
  list(APPEND PLEXUS_WARNINGS -Wno-restrict -Wno-array-bounds)
  if(PLEXUS_SANITIZE)
    # The instrumentation hides initialisations from these two; the release build has them on.
    list(APPEND PLEXUS_WARNINGS -Wno-maybe-uninitialized -Wno-stringop-overflow)
  endif()
  # ccache can keep objects that use a precompiled header only if the preprocessor names that header.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)
endif()

# ccache: the sloppiness is what its manual asks for with precompiled headers, and no more: without the check of the
# headers' times, a header that is edited while a file compiles would leave a wrong object in the cache. Paths below the
# source directory are kept relative, so that another clone finds the same objects.
find_program(PLEXUS_CCACHE ccache)
if(PLEXUS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(_launcher ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${PLEXUS_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${_launcher})
  set(CMAKE_C_COMPILER_LAUNCHER ${_launcher})
endif()
