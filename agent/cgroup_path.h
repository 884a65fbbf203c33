#pragma once

/*
 * cgroup_path reads what a cgroup path says about who a process belongs to: the container, the pod,
 * the systemd unit. Docker, containerd, CRI-O, podman and systemd write these paths; cgroup
 * version 1 and 2 differ in the file they stand in, not in the names.
 *
 * Pure text in, text out: tests are tables.
 */

#include <stddef.h>
#include <stdint.h>

struct cgroup_names {
	char leaf[128];             /* last component, cut to fit */
	char container_id[72];      /* 64 hex digits, or "" */
	char container_runtime[16]; /* "docker", "containerd", "crio", "podman", "lxc", "nspawn", ""
	                             */
	char container_name[64];    /* where the runtime writes one: LXC, systemd-nspawn; or "" */
	char pod_uid[40];           /* with dashes, or "" */
	char unit[128];             /* innermost systemd unit: "nginx.service", "" */
};

void cgroup_path_parse(const char *path, struct cgroup_names *ret_names);

/*
 * Picks the path that names a process out of /proc/PID/cgroup: version 2's "0::", unless it is the
 * root and a version 1 hierarchy (memory, then name=systemd, then any) says more. -EBADMSG,
 * -ENOSPC.
 */
int cgroup_path_pick(const char *text, size_t count, char *ret_path, size_t path_bytes);
