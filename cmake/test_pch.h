// SPDX-License-Identifier: Apache-2.0
// Precompiled for the tests: pch.h and GoogleTest.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pch.h"
