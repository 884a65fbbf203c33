#pragma once

/*
 * The version that --version prints, that an agent reports and that a man page carries. It stands
 * here and in CMakeLists.txt; tests/unit/core/options_test.c compares the two.
 */

#ifndef PROFLEET_VERSION
#define PROFLEET_VERSION "0.1.0"
#endif
