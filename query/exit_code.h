#pragma once

/*
 * exit_code is what a pipeline may rely on: the same meaning for every verb. docs/operating/cli.md
 * and every --help list them from EXIT_CODES_TEXT.
 */

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_GATE = 1, /* reserved: a change beyond a gate, with evidence */
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_INCONCLUSIVE = 3, /* reserved: only where asked for */
	EXIT_CODE_STOPPED = 3,      /* of administration: a safety stop, nothing was done */
	EXIT_CODE_DENIED = 4,
	EXIT_CODE_FAILED = 5, /* server, network, storage, or input that is broken */
	EXIT_CODE_NO_DATA = 6,
};

#define EXIT_CODES_TEXT                                                                            \
	"0  done\n"                                                                                \
	"1  reserved for gates: a change beyond the gate, with evidence\n"                         \
	"2  the question was put wrongly: unknown option, bad selector, several types\n"           \
	"3  reserved: inconclusive, only where asked for\n"                                        \
	"4  authentication or permission\n"                                                        \
	"5  server, network or storage failed, or the input is broken\n"                           \
	"6  nothing was selected: no series matches in the range\n"
