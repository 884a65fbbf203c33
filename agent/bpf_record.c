/*
 * The records of bpf/events.h as observations. They were written by a program of ours, so nothing
 * here is expected to fail; but it is the kernel's memory, and what does not add up is refused.
 */

#include "agent/bpf_record.h"

#include <errno.h>
#include <string.h>

static int bpf_record_sample(const void *record, size_t bytes, struct observation *observation)
{
	const struct event_sample *event = record;
	struct observed_sample *sample = &observation->sample;

	if (bytes < sizeof(*event) || event->kernel_depth > EVENT_DEPTH_MAX ||
	        event->user_depth > EVENT_DEPTH_MAX ||
	        bytes - sizeof(*event) <
	                (size_t)(event->kernel_depth + event->user_depth) * sizeof(uint64_t))
		return -EBADMSG;

	observation->kind = OBSERVED_SAMPLE;
	sample->start_ns = event->start_ns;
	sample->period = event->period;
	sample->cgroup_id = event->cgroup_id;
	sample->has_cgroup = true;
	sample->kernel_ips = (const uint64_t *)(event + 1);
	sample->kernel_depth = event->kernel_depth;
	sample->user_ips = sample->kernel_ips + event->kernel_depth;
	sample->user_depth = event->user_depth;
	if (event->flags & EVENT_SAMPLE_KERNEL_CUT)
		sample->flags |= OBSERVED_KERNEL_CUT;
	if (event->flags & EVENT_SAMPLE_NO_USER)
		sample->flags |= OBSERVED_NO_USER;
	else
		sample->flags |= event->flags & EVENT_SAMPLE_USER_ROOT ? OBSERVED_USER_ROOT
		                                                       : OBSERVED_USER_CUT;
	return 0;
}

static int bpf_record_exec(const void *record, size_t bytes, struct observation *observation)
{
	const struct event_exec *event = record;

	if (bytes < sizeof(*event))
		return -EBADMSG;
	observation->kind = OBSERVED_ORIGIN;
	observation->origin = (struct observed_origin){
		.start_ns = event->start_ns,
		.cgroup_id = event->cgroup_id,
		.group_start_ns = event->group_start_ns,
		.parent = event->parent,
		.group = event->group,
	};
	return 0;
}

static int bpf_record_cgroup(const void *record, size_t bytes, struct bpf_record_path *path,
        struct observation *observation)
{
	const struct event_cgroup *event = record;
	size_t at = 0;

	if (bytes < sizeof(*event) || event->names_count > EVENT_CGROUP_NAMES)
		return -EBADMSG;
	for (uint32_t name = event->names_count; name-- > 0;) {
		size_t length = strnlen(event->names[name], EVENT_CGROUP_NAME_BYTES);
		path->text[at++] = '/';
		memcpy(path->text + at, event->names[name], length);
		at += length;
	}
	if (at == 0)
		path->text[at++] = '/';
	path->text[at] = 0;
	observation->kind = OBSERVED_CGROUP;
	observation->cgroup.id = event->cgroup_id;
	observation->cgroup.path = path->text;
	return 0;
}

int bpf_record_decode(const void *record, size_t bytes, struct bpf_record_path *path,
        struct observation *ret_observation)
{
	const struct event_header *header = record;

	if (bytes < sizeof(*header))
		return -EBADMSG;
	struct observation observation = {
		.cpu = header->cpu,
		.pid = header->tgid,
		.tid = header->tid,
		.time_ns = header->time_ns,
	};
	int result = -EBADMSG;

	switch (header->kind) {
	case EVENT_SAMPLE:
		result = bpf_record_sample(record, bytes, &observation);
		break;
	case EVENT_EXEC:
		result = bpf_record_exec(record, bytes, &observation);
		break;
	case EVENT_CGROUP:
		result = bpf_record_cgroup(record, bytes, path, &observation);
		break;
	}
	if (result == 0)
		*ret_observation = observation;
	return result;
}
