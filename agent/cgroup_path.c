/*
 * A path is walked from the root, and what is found further in wins: a container in a container,
 * a pod of a cluster that runs in containers itself, a unit inside a container that runs systemd. A
 * container hides the units outside of it, which are those of its runtime.
 *
 *	/docker/ID                                                      docker, cgroupfs
 *	/system.slice/docker-ID.scope                                   docker, systemd
 *	/kubepods/burstable/podUID/ID                                   any runtime, cgroupfs
 *	/kubepods.slice/kubepods-podU_I_D.slice/cri-containerd-ID.scope containerd, systemd
 *	.../kubepods-podU_I_D.slice:cri-containerd:ID                   containerd, drivers mixed up
 *	/machine.slice/libpod-ID.scope/container                        podman
 *	.../crio-ID.scope                                               CRI-O
 *	/lxc.payload.NAME, /lxc/NAME                                    LXC, Incus
 *	/machine.slice/machine-NAME.scope                               systemd-nspawn
 */

#include "agent/cgroup_path.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/auto.h"

#define CGROUP_ID_DIGITS 64
#define CGROUP_UID_BYTES 36
#define CGROUP_DELETED   " (deleted)"

struct cgroup_text {
	const char *bytes;
	size_t count;
};

/* What stands before the id, and whose it is. */
static const struct {
	const char *prefix;
	const char *runtime; /* NULL: the runtime's own helper process, not a container */
} cgroup_prefixes[] = {
	{ "docker-", "docker" },
	{ "cri-containerd-", "containerd" },
	{ "nerdctl-", "containerd" },
	{ "crio-conmon-", NULL },
	{ "crio-", "crio" },
	{ "libpod-conmon-", NULL },
	{ "libpod-", "podman" },
};

/* Folders whose children are ids alone. */
static const struct {
	const char *folder;
	const char *runtime;
} cgroup_folders[] = {
	{ "docker", "docker" },
	{ "actions_job", "docker" },
	{ "libpod_parent", "podman" },
	{ "default", "containerd" },
	{ "k8s.io", "containerd" },
	{ "moby", "docker" },
};

static bool cgroup_is_hex(const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char c = bytes[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
	}
	return true;
}

static bool cgroup_starts(struct cgroup_text text, const char *prefix)
{
	size_t count = strlen(prefix);

	return text.count >= count && !memcmp(text.bytes, prefix, count);
}

static bool cgroup_equals(struct cgroup_text text, const char *other)
{
	return text.count == strlen(other) && cgroup_starts(text, other);
}

static bool cgroup_ends(struct cgroup_text text, const char *suffix)
{
	size_t count = strlen(suffix);

	return text.count > count && !memcmp(text.bytes + text.count - count, suffix, count);
}

static void cgroup_set(char *to, size_t bytes, struct cgroup_text text)
{
	snprintf(to, bytes, "%.*s", (int)(text.count < bytes ? text.count : bytes), text.bytes);
}

/*
 * The uid behind the last "pod" of a folder's name: with dashes, with underscores in their place
 * (systemd gives dashes a meaning of its own), or 32 digits without any (static pods).
 */
static void cgroup_find_pod(struct cgroup_text name, struct cgroup_names *names)
{
	struct cgroup_text uid = { 0 };
	char text[CGROUP_UID_BYTES + 1];

	if (cgroup_ends(name, ".slice"))
		name.count -= strlen(".slice");
	for (size_t i = 0; i + 3 < name.count; i++) {
		if (!memcmp(name.bytes + i, "pod", 3) && (i == 0 || name.bytes[i - 1] == '-'))
			uid = (struct cgroup_text){ name.bytes + i + 3, name.count - i - 3 };
	}
	if (uid.count == 32 && cgroup_is_hex(uid.bytes, 32)) {
		cgroup_set(names->pod_uid, sizeof(names->pod_uid), uid);
		return;
	}
	if (uid.count != CGROUP_UID_BYTES)
		return;
	for (size_t i = 0; i < CGROUP_UID_BYTES; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? uid.bytes[i] != '-' && uid.bytes[i] != '_'
		         : !cgroup_is_hex(uid.bytes + i, 1))
			return;
		text[i] = dash ? '-' : uid.bytes[i];
	}
	cgroup_set(names->pod_uid, sizeof(names->pod_uid),
	        (struct cgroup_text){ text, CGROUP_UID_BYTES });
}

static void cgroup_set_container(
        struct cgroup_names *names, struct cgroup_text id, const char *runtime)
{
	cgroup_set(names->container_id, sizeof(names->container_id), id);
	snprintf(names->container_runtime, sizeof(names->container_runtime), "%s", runtime);
	names->container_name[0] = 0;
	names->unit[0] = 0;
}

/* systemd writes a byte that has a meaning in unit names as \xHH. */
static void cgroup_set_unescaped(char *to, size_t bytes, struct cgroup_text text)
{
	size_t at = 0;

	for (size_t i = 0; i < text.count && at + 1 < bytes; i++) {
		unsigned int byte;

		if (text.count - i >= 4 && text.bytes[i] == '\\' && text.bytes[i + 1] == 'x' &&
		        cgroup_is_hex(text.bytes + i + 2, 2)) {
			char digits[3] = { text.bytes[i + 2], text.bytes[i + 3], 0 };

			byte = (unsigned int)strtoul(digits, NULL, 16);
			i += 3;
		} else {
			byte = (unsigned char)text.bytes[i];
		}
		to[at++] = byte ? (char)byte : '?';
	}
	to[at] = 0;
}

/* Containers that are known by a name and have no id. */
static bool cgroup_find_named(
        struct cgroup_text name, struct cgroup_text parent, struct cgroup_names *names)
{
	static const char payload[] = "lxc.payload.", machine[] = "machine-", scope[] = ".scope";
	const char *runtime = "lxc";

	if (cgroup_starts(name, payload) && name.count > sizeof(payload) - 1) {
		name.bytes += sizeof(payload) - 1;
		name.count -= sizeof(payload) - 1;
	} else if (cgroup_starts(name, machine) && cgroup_ends(name, scope) &&
	           name.count > sizeof(machine) - 1 + sizeof(scope) - 1) {
		name.bytes += sizeof(machine) - 1;
		name.count -= sizeof(machine) - 1 + sizeof(scope) - 1;
		runtime = "nspawn";
	} else if (!cgroup_equals(parent, "lxc")) {
		return false;
	}
	cgroup_set_container(names, (struct cgroup_text){ "", 0 }, runtime);
	cgroup_set_unescaped(names->container_name, sizeof(names->container_name), name);
	return true;
}

/* "NAME-ID.scope", "NAME-ID", "ID". True when the folder is a container or a runtime's helper. */
static bool cgroup_find_container(
        struct cgroup_text name, struct cgroup_text parent, struct cgroup_names *names)
{
	if (cgroup_ends(name, ".scope"))
		name.count -= strlen(".scope");
	if (name.count < CGROUP_ID_DIGITS)
		return false;

	struct cgroup_text id = { name.bytes + name.count - CGROUP_ID_DIGITS, CGROUP_ID_DIGITS };
	struct cgroup_text prefix = { name.bytes, name.count - CGROUP_ID_DIGITS };
	if (!cgroup_is_hex(id.bytes, id.count))
		return false;

	if (prefix.count == 0) {
		const char *runtime = "";

		for (size_t i = 0; i < COUNT_OF(cgroup_folders); i++) {
			if (cgroup_equals(parent, cgroup_folders[i].folder))
				runtime = cgroup_folders[i].runtime;
		}
		cgroup_set_container(names, id, runtime);
		return true;
	}
	for (size_t i = 0; i < COUNT_OF(cgroup_prefixes); i++) {
		if (!cgroup_equals(prefix, cgroup_prefixes[i].prefix))
			continue;
		if (cgroup_prefixes[i].runtime)
			cgroup_set_container(names, id, cgroup_prefixes[i].runtime);
		else
			names->unit[0] = 0;
		return true;
	}
	if (prefix.bytes[prefix.count - 1] != '-')
		return false;
	/* A runtime we do not know by name. */
	cgroup_set_container(names, id, "");
	return true;
}

/* "kubepods-podU_I_D.slice:cri-containerd:ID" */
static bool cgroup_find_colons(struct cgroup_text name, struct cgroup_names *names)
{
	const char *first = memchr(name.bytes, ':', name.count);
	const char *last = memrchr(name.bytes, ':', name.count);

	if (!first || first == last)
		return false;

	struct cgroup_text slice = { name.bytes, (size_t)(first - name.bytes) };
	struct cgroup_text runtime = { first + 1, (size_t)(last - first - 1) };
	struct cgroup_text id = { last + 1, (size_t)(name.bytes + name.count - last - 1) };
	if (id.count != CGROUP_ID_DIGITS || !cgroup_is_hex(id.bytes, id.count))
		return false;

	cgroup_find_pod(slice, names);
	cgroup_set_container(names, id, "");
	for (size_t i = 0; i < COUNT_OF(cgroup_prefixes); i++) {
		struct cgroup_text prefix = { cgroup_prefixes[i].prefix,
			strlen(cgroup_prefixes[i].prefix) };

		if (!cgroup_prefixes[i].runtime)
			continue;
		if (prefix.bytes[prefix.count - 1] == '-')
			prefix.count--;
		if (prefix.count == runtime.count &&
		        !memcmp(prefix.bytes, runtime.bytes, runtime.count))
			cgroup_set_container(names, id, cgroup_prefixes[i].runtime);
	}
	return true;
}

static void cgroup_visit(
        struct cgroup_text name, struct cgroup_text parent, struct cgroup_names *names)
{
	if (cgroup_find_colons(name, names) || cgroup_find_container(name, parent, names) ||
	        cgroup_find_named(name, parent, names))
		return;
	cgroup_find_pod(name, names);
	if (cgroup_ends(name, ".service") || cgroup_ends(name, ".scope"))
		cgroup_set(names->unit, sizeof(names->unit), name);
}

static size_t cgroup_path_bytes(const char *path, size_t count)
{
	size_t suffix = strlen(CGROUP_DELETED);

	/* The kernel marks a folder that was removed under its last process. */
	if (count > suffix && !memcmp(path + count - suffix, CGROUP_DELETED, suffix))
		count -= suffix;
	return count;
}

static void cgroup_parse(struct cgroup_text path, struct cgroup_names *ret_names)
{
	struct cgroup_names names = { 0 };
	struct cgroup_text parent = { "", 0 };
	const char *end;

	path.count = cgroup_path_bytes(path.bytes, path.count);
	end = path.bytes + path.count;
	for (const char *at = path.bytes; at < end;) {
		const char *stop = memchr(at, '/', (size_t)(end - at));
		struct cgroup_text name = { at, (size_t)((stop ? stop : end) - at) };

		if (name.count > 0) {
			cgroup_visit(name, parent, &names);
			cgroup_set(names.leaf, sizeof(names.leaf), name);
			parent = name;
		}
		at += name.count + 1;
	}
	*ret_names = names;
}

void cgroup_path_parse(const char *path, struct cgroup_names *ret_names)
{
	cgroup_parse((struct cgroup_text){ path, strlen(path) }, ret_names);
}

/* How much a line of /proc/PID/cgroup tells; the greatest is taken. 0: not a line. */
static int cgroup_line_worth(struct cgroup_text controllers, struct cgroup_text path)
{
	struct cgroup_names names;
	int worth;

	cgroup_parse(path, &names);
	if (controllers.count == 0)
		worth = 4;
	else if (cgroup_equals(controllers, "memory"))
		worth = 3;
	else if (cgroup_equals(controllers, "name=systemd"))
		worth = 2;
	else
		worth = 1;
	/* With both versions mounted a runtime may put its containers into version 1 only. */
	if (names.container_id[0])
		return worth + 20;
	return names.leaf[0] ? worth + 10 : worth;
}

int cgroup_path_pick(const char *text, size_t count, char *ret_path, size_t path_bytes)
{
	struct cgroup_text best = { 0 };
	int best_worth = 0;
	const char *end = text + count;

	for (const char *at = text; at < end;) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		if (!stop)
			stop = end;

		const char *first = memchr(at, ':', (size_t)(stop - at));
		const char *second = first ? memchr(first + 1, ':', (size_t)(stop - first - 1))
		                           : NULL;
		if (second && second + 1 < stop && second[1] == '/') {
			struct cgroup_text controllers = { first + 1,
				(size_t)(second - first - 1) };
			struct cgroup_text path = { second + 1, (size_t)(stop - second - 1) };
			int worth = cgroup_line_worth(controllers, path);

			if (worth > best_worth) {
				best = path;
				best_worth = worth;
			}
		}
		at = stop + 1;
	}
	if (best_worth == 0)
		return -EBADMSG;

	best.count = cgroup_path_bytes(best.bytes, best.count);
	if (best.count >= path_bytes)
		return -ENOSPC;
	memcpy(ret_path, best.bytes, best.count);
	ret_path[best.count] = 0;
	return 0;
}
