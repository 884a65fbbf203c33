/* cgroup_path: any bytes as /proc/PID/cgroup, and what is picked as a path. */

#include <stdlib.h>
#include <string.h>

#include "agent/cgroup_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct cgroup_names names;
	char path[4096];

	if (cgroup_path_pick((const char *)bytes, count, path, sizeof(path)) < 0)
		return 0;
	cgroup_path_parse(path, &names);
	if (strlen(names.container_id) != 0 && strlen(names.container_id) != 64)
		abort();
	if (strlen(names.pod_uid) != 0 && strlen(names.pod_uid) != 32 &&
	        strlen(names.pod_uid) != 36)
		abort();
	return 0;
}
