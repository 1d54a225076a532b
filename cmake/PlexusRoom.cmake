# SPDX-License-Identifier: Apache-2.0
# How a room (src/<name>/) becomes targets. A room's CMakeLists.txt is one call of plexus_room(), and one of
# plexus_executable() for each program. Sources are globbed: a new file needs no edit here.
#
#   src/<room>/**/foo.cc        -> static library plexus_<room> (an INTERFACE library while there is none)
#   src/<room>/**/foo_test.cc   -> one test program <room>_test
#   src/<room>/**/foo_main.cc   -> a program, named by plexus_executable()
#   src/<room>/**/foo.h         -> compiled alone by the target check_headers (tools/check-headers)

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
if(BUILD_TESTING OR NOT DEFINED BUILD_TESTING)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# The two precompiled headers, compiled once and used by all: standard headers; the same and GoogleTest.
file(WRITE ${CMAKE_BINARY_DIR}/pch/empty.cc.in "// Carries a precompiled header.\n")
configure_file(${CMAKE_BINARY_DIR}/pch/empty.cc.in ${CMAKE_BINARY_DIR}/pch/empty.cc COPYONLY)
add_library(plexus_pch OBJECT ${CMAKE_BINARY_DIR}/pch/empty.cc)
target_precompile_headers(plexus_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/pch.h)
if(TARGET GTest::gtest)
  add_library(plexus_test_pch OBJECT ${CMAKE_BINARY_DIR}/pch/empty.cc)
  target_link_libraries(plexus_test_pch PRIVATE GTest::gtest GTest::gmock)
  target_precompile_headers(plexus_test_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/test_pch.h)
endif()

# Sets <out> to the plexus_<room> targets of the rooms, which the top CMakeLists.txt has in an order that makes them first.
function(_plexus_room_targets out)
  set(targets)
  foreach(room IN LISTS ARGN)
    if(NOT TARGET plexus_${room})
      message(FATAL_ERROR "there is no room ${room}, or not yet here")
    endif()
    list(APPEND targets plexus_${room})
  endforeach()
  set(${out} ${targets} PARENT_SCOPE)
endfunction()

# Sets <out> to an imported target for each pkg-config module.
function(_plexus_pkg_targets out)
  set(targets)
  foreach(pkg IN LISTS ARGN)
    pkg_check_modules(PLEXUS_PKG_${pkg} REQUIRED IMPORTED_TARGET GLOBAL ${pkg})
    list(APPEND targets PkgConfig::PLEXUS_PKG_${pkg})
  endforeach()
  set(${out} ${targets} PARENT_SCOPE)
endfunction()

# plexus_target(<target>): our warnings and the precompiled header on a target with C++ sources.
function(plexus_target target)
  target_compile_options(${target} PRIVATE ${PLEXUS_WARNINGS})
  target_precompile_headers(${target} REUSE_FROM plexus_pch)
endfunction()

# Builds every test program, and only what they need.
add_custom_target(plexus_tests)

# plexus_test(<target> SOURCES <file>... [LIBS <lib>...]): a GoogleTest program, registered with ctest.
function(plexus_test target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
  add_executable(${target} ${arg_SOURCES})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${target} PRIVATE ${arg_LIBS} GTest::gtest GTest::gmock GTest::gtest_main Threads::Threads)
  target_compile_options(${target} PRIVATE ${PLEXUS_WARNINGS})
  target_precompile_headers(${target} REUSE_FROM plexus_test_pch)
  add_dependencies(plexus_tests ${target})
  # Tests called *ebpf* or Kernel* load kernel programs: their label is "kernel", the others' is the program's name.
  set(kernel "*ebpf*:*Ebpf*:Kernel*")
  # PRE_TEST: the program runs when ctest does, not at every link.
  gtest_discover_tests(${target} TEST_PREFIX ${target}: TEST_FILTER "-${kernel}"
                       NO_PRETTY_VALUES DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 300 LABELS ${target})
  gtest_discover_tests(${target} TEST_PREFIX ${target}: TEST_FILTER "${kernel}"
                       NO_PRETTY_VALUES DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 300 LABELS kernel)
endfunction()

# _plexus_room_headers(<name> <room target>): each header of the room compiled by itself, without the precompiled header,
# when check_headers is built.
add_custom_target(check_headers)
function(_plexus_room_headers name room)
  file(GLOB_RECURSE headers RELATIVE ${CMAKE_SOURCE_DIR}/src CONFIGURE_DEPENDS *.h)
  if(NOT headers)
    return()
  endif()
  set(sources)
  foreach(header IN LISTS headers)
    set(source ${CMAKE_BINARY_DIR}/headers/${header}.cc)
    # Twice: a header without its guard shows here.
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n#include \"${header}\"\n")
    list(APPEND sources ${source})
  endforeach()
  add_library(plexus_${name}_headers OBJECT EXCLUDE_FROM_ALL ${sources})
  # -O0: nobody runs these.
  target_compile_options(plexus_${name}_headers PRIVATE ${PLEXUS_WARNINGS} -O0)
  target_link_libraries(plexus_${name}_headers PRIVATE ${room})
  add_dependencies(check_headers plexus_${name}_headers)
endfunction()

# plexus_room(<name> [ROOMS <room>...] [LIBS <lib>...] [PKGS <pkg-config module>...])
# ROOMS are the rooms that this one may use (tools/check-layers holds the same table with the reasons); LIBS and PKGS are
# libraries from outside. All are linked PUBLIC: the headers of a room show the types of what it uses.
function(plexus_room name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "ROOMS;LIBS;PKGS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "plexus_room(${name}): what is ${arg_UNPARSED_ARGUMENTS}?")
  endif()
  file(GLOB_RECURSE all CONFIGURE_DEPENDS *.cc)
  set(sources ${all})
  list(FILTER sources EXCLUDE REGEX "_(test|main)\\.cc$")
  set(tests ${all})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")

  _plexus_room_targets(rooms ${arg_ROOMS})
  _plexus_pkg_targets(pkgs ${arg_PKGS})
  if(sources)
    add_library(plexus_${name} STATIC ${sources})
    plexus_target(plexus_${name})
    set(scope PUBLIC)
  else()
    add_library(plexus_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(plexus_${name} ${scope} ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(plexus_${name} ${scope} ${rooms} ${arg_LIBS} ${pkgs} Threads::Threads)
  _plexus_room_headers(${name} plexus_${name})

  if(tests AND BUILD_TESTING)
    plexus_test(${name}_test SOURCES ${tests} LIBS plexus_${name})
  endif()
endfunction()

# plexus_executable(<exe> <main file> [ROOMS <room>...] [LIBS <lib>...]): a program.
function(plexus_executable exe main)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "ROOMS;LIBS")
  _plexus_room_targets(rooms ${arg_ROOMS})
  add_executable(${exe} ${main})
  target_include_directories(${exe} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${exe} PRIVATE ${rooms} ${arg_LIBS} Threads::Threads)
  plexus_target(${exe})
endfunction()
