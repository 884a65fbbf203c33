#pragma once

/*
 * What reading and writing pprof share: the outermost message, whose fields both walk themselves,
 * and what a sample type is.
 */

#include <stdbool.h>
#include <stdint.h>

#define PPROF_TYPES_MAX 64

/* Numbers of the outermost fields, as in profile.proto. */
enum pprof_field_number {
	PPROF_SAMPLE_TYPE = 1,
	PPROF_SAMPLE = 2,
	PPROF_MAPPING = 3,
	PPROF_LOCATION = 4,
	PPROF_FUNCTION = 5,
	PPROF_STRING = 6,
	PPROF_DROP_FRAMES = 7,
	PPROF_KEEP_FRAMES = 8,
	PPROF_TIME = 9,
	PPROF_DURATION = 10,
	PPROF_PERIOD_TYPE = 11,
	PPROF_PERIOD = 12,
	PPROF_COMMENT = 13,
	PPROF_DEFAULT_TYPE = 14,
	PPROF_DOC_URL = 15,
};

enum pprof_wire { PPROF_VARINT = 0, PPROF_BYTES = 2 };

struct pprof_type {
	uint32_t type; /* strings of the dict */
	uint32_t unit;
	uint64_t period;
	uint32_t series; /* without sample labels */
	bool has_values;
};
