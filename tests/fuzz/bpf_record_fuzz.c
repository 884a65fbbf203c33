/* Any bytes as a record of the BPF ring: decoding must stay inside them. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/bpf_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t fuzz_sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct observation observation;
	struct bpf_record_path path;
	/* Exactly as long as the input, so that a read behind it is seen. malloc aligns as the ring
	 * does. */
	uint8_t *record = malloc(size ? size : 1);

	if (!record)
		return 0;
	memcpy(record, data, size);
	if (bpf_record_decode(record, size, &path, &observation) == 0) {
		if (observation.kind == OBSERVED_SAMPLE) {
			for (uint32_t at = 0; at < observation.sample.kernel_depth; at++)
				fuzz_sink += observation.sample.kernel_ips[at];
			for (uint32_t at = 0; at < observation.sample.user_depth; at++)
				fuzz_sink += observation.sample.user_ips[at];
		} else if (observation.kind == OBSERVED_CGROUP) {
			if (observation.cgroup.path[0] != '/')
				abort();
			fuzz_sink += strlen(observation.cgroup.path);
		}
	}
	free(record);
	return 0;
}
