#pragma once

/*
 * labeler decides the labels of a process's series.
 *
 * Always there: host, comm, instance, service. Where the host knows them: exe, cgroup (the leaf),
 * container, container_runtime, pod_uid, unit, version, and whatever --label and the relabel table
 * add.
 *
 * service, first rule that gives a value:
 *	1. an allowed environment variable (only those that the configuration lists are ever read)
 *	2. the container's name, where its runtime writes one into the cgroup (LXC, systemd-nspawn)
 *	3. the systemd service without its suffix; not user@ managers, scopes and run-* units
 *	4. "kernel" for kernel threads, else comm
 * A relabel rule may set it from anything else, such as the id of a container without a name.
 *
 * instance is one life of one process group on one host: the first 12 digits of the container's id
 * in a container, else "HOST:GROUP-START" (process group and its start in 1/100 s since boot), or
 * "HOST:kernel" for kernel threads. With the host in it, because pids and start times of machines
 * made from one image do meet, and a spread over instances must not mistake two for one.
 *
 * Order: what the host knows, the environment, --label, relabel rules; the later replaces the
 * earlier. host, service and instance cannot be removed. Values are cut at 128 bytes (whole
 * characters); what is not harmless UTF-8 becomes U+FFFD. One thread owns a labeler.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/cgroup_path.h"
#include "core/auto.h"
#include "core/options.h"
#include "profile/dict.h"

#define LABEL_VALUE_BYTES_MAX 128

struct process_facts {
	int32_t pid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat: 1/100 s since boot */
	int32_t group;        /* process group id; 0 for kernel threads, as /proc/PID/stat has it */
	uint64_t group_start_ticks; /* of the group's leader, or of the process when it is gone */
	const char *comm;
	const char *exe;     /* path as the process sees it; "" when unknown */
	const char *cgroup;  /* path; "" when unknown */
	const char *environ; /* zero-separated, NULL when unreadable or not asked for */
	size_t environ_bytes;
};

struct relabel_rule {
	char *source; /* label whose value is matched */
	char *match;  /* extended regular expression, anchored */
	char *target; /* label that is set; "": the source itself is removed */
	char *value;  /* with \1..\9 for groups and \\ for a backslash; empty removes the label */
};

struct labeler_options {
	char host[128];
	struct option_list labels;          /* "k=v", checked */
	struct option_list environ_service; /* names of variables, first found wins */
	struct option_list environ_version;
	struct option_list environ_labels; /* "label=VARIABLE" */
	const struct relabel_rule *relabel;
	uint32_t relabel_count;
};

struct labeler;

/* For whoever reads settings: 0, or -EINVAL with what is wrong. labeler_new() asks the same again.
 */
int labeler_check_rule(const struct relabel_rule *rule, char *ret_error, size_t error_bytes);
/* "name=something" each. */
int labeler_check_pairs(const struct option_list *list, char *ret_error, size_t error_bytes);

/*
 * The options are borrowed for as long as the labeler lives. -EINVAL with a message naming the
 * rule. -ENOMEM.
 */
int labeler_new(struct labeler_options options, struct labeler **ret_labeler, char *ret_error,
        size_t error_bytes);
void labeler_free(struct labeler *labeler);
DEFINE_AUTO(labeler);

/* Does any rule read environments at all? If not, nobody opens /proc/PID/environ. */
bool labeler_wants_environ(const struct labeler *labeler);

/* The series of the process for one type, in the dict. Errors as of dict_series(). */
int labeler_series(struct labeler *labeler, const struct process_facts *facts, const char *type,
        const char *unit, uint64_t period, struct dict *dict, uint32_t *ret_series);
