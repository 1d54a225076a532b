// SPDX-License-Identifier: Apache-2.0
// A small fuzzer: mutates seeds, keeps the inputs that reached something new, and on a failure prints the input that
// caused it. It knows what is new from what the function under test tells it, not from coverage: that needs no other
// compiler. One thread.
//
//   fuzz_frame --seconds 30            until then, from a random start that is printed
//   fuzz_frame --seconds 30 --start 7  the same again
//   fuzz_frame --input 0200...         one input, in hexadecimal
//   fuzz_frame --corpus DIR            more seeds: all files there (tests/fuzz/corpus/fuzz_frame)
//   fuzz_frame --write-corpus DIR      the seeds that the program makes itself, as files; runs nothing
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace plexus::fuzz {

using Bytes = std::vector<uint8_t>;

/// Runs one input and returns what it reached: any number that tells kinds of behaviour apart (an error code, a layer).
/// Broken properties are reported with FUZZ_CHECK. The span is exactly as long as its allocation, so that the address
/// sanitizer sees a read behind it.
using Target = std::function<uint64_t(std::span<const uint8_t>)>;

struct Subject {
  std::vector<Bytes> seeds;
  std::vector<std::string> words;  ///< that a mutation may insert
  Target run;
};

/// main() of a fuzzer. Returns the exit status; a failure aborts.
int fuzz_main(int argc, char** argv, const Subject& subject);

[[nodiscard]] Bytes bytes_of(std::string_view text);

/// Prints the input in hexadecimal and aborts.
[[noreturn]] void failed(const char* file, int line, const char* what, const std::string& details);

}  // namespace plexus::fuzz

#define FUZZ_CHECK(condition, details)                                                   \
  do {                                                                                   \
    if (!(condition)) ::plexus::fuzz::failed(__FILE__, __LINE__, #condition, (details)); \
  } while (false)
