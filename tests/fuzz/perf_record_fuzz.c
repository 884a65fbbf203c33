/*
 * Any bytes as a record of a perf ring: decoding must stay inside them, and what it returns must be
 * what its users rely on (texts that end, depths that fit, mappings that do not wrap around).
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/perf_ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t fuzz_sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct observation observation;
	/* Exactly as long as the input, so that a read behind it is seen. malloc aligns as rings
	 * do. */
	uint8_t *record = malloc(size ? size : 1);

	if (!record)
		return 0;
	memcpy(record, data, size);
	/* Most inputs would fail at the size alone. */
	if (size >= 8 && size <= UINT16_MAX) {
		record[6] = (uint8_t)size;
		record[7] = (uint8_t)(size >> 8);
	}
	fuzz_sink += perf_record_time_ns(record, size);
	if (perf_record_decode(record, size, &observation) == 0) {
		switch (observation.kind) {
		case OBSERVED_SAMPLE:
			for (uint32_t at = 0; at < observation.sample.kernel_depth; at++)
				fuzz_sink += observation.sample.kernel_ips[at];
			for (uint32_t at = 0; at < observation.sample.user_depth; at++)
				fuzz_sink += observation.sample.user_ips[at];
			break;
		case OBSERVED_MAP:
			fuzz_sink += strlen(observation.map.path);
			if (observation.map.start + observation.map.bytes <= observation.map.start)
				abort();
			break;
		case OBSERVED_EXEC:
		case OBSERVED_COMM:
			if (!memchr(observation.comm, 0, sizeof(observation.comm)))
				abort();
			break;
		default:
			break;
		}
	}
	free(record);
	return 0;
}
