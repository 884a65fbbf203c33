/* cgroup_path: the paths that Docker, containerd, CRI-O, podman and systemd write, in tables. */

#include "agent/cgroup_path.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/test.h"

#define ID     "6f1b8a3c5d7e9f00112233445566778899aabbccddeeff00112233445566778a"
#define ID_2   "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"
#define UID    "0bd6f6fd-e8b8-4aa5-b6a8-0c5e2f3b1a11"
#define UID__  "0bd6f6fd_e8b8_4aa5_b6a8_0c5e2f3b1a11"
#define STATIC "3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c"

static const struct {
	const char *path;
	const char *leaf;
	const char *id;
	const char *runtime;
	const char *pod;
	const char *unit;
} paths[] = {
	/* No container at all. */
	{ "/", "", "", "", "", "" },
	{ "", "", "", "", "", "" },
	{ "/system.slice/nginx.service", "nginx.service", "", "", "", "nginx.service" },
	{ "/system.slice/system-postgresql.slice/postgresql@15-main.service",
	        "postgresql@15-main.service", "", "", "", "postgresql@15-main.service" },
	{ "/init.scope", "init.scope", "", "", "", "init.scope" },
	{ "/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "", "", "",
	        "session-3.scope" },
	{ "/user.slice/user-1000.slice/user@1000.service/app.slice/syncthing.service",
	        "syncthing.service", "", "", "", "syncthing.service" },
	{ "/user.slice/user-1000.slice/user@1000.service/app.slice", "app.slice", "", "", "",
	        "user@1000.service" },
	{ "/system.slice/nginx.service (deleted)", "nginx.service", "", "", "", "nginx.service" },
	{ "/machine.slice/machine-web.scope/payload/system.slice/cron.service", "cron.service", "",
	        "nspawn", "", "cron.service" },
	{ "/lxc.payload.web/system.slice/cron.service", "cron.service", "", "lxc", "",
	        "cron.service" },
	{ "/lxc/web", "web", "", "lxc", "", "" },
	{ "/lxc.monitor.web", "lxc.monitor.web", "", "", "", "" },
	/* Docker: cgroupfs, systemd, and one in the other. */
	{ "/docker/" ID, ID, ID, "docker", "", "" },
	{ "/system.slice/docker-" ID ".scope", "docker-" ID ".scope", ID, "docker", "", "" },
	{ "/docker/" ID "/docker/" ID_2, ID_2, ID_2, "docker", "", "" },
	{ "/docker/" ID "/system.slice/cron.service", "cron.service", ID, "docker", "",
	        "cron.service" },
	{ "/../../docker/" ID, ID, ID, "docker", "", "" },
	{ "/actions_job/" ID, ID, ID, "docker", "", "" },
	/* containerd: Kubernetes with both drivers and all three classes, nerdctl, ctr. */
	{ "/kubepods/besteffort/pod" UID "/" ID, ID, ID, "", UID, "" },
	{ "/kubepods/burstable/pod" UID "/" ID, ID, ID, "", UID, "" },
	{ "/kubepods/pod" UID "/" ID, ID, ID, "", UID, "" },
	{ "/kubepods/burstable/pod" STATIC "/" ID, ID, ID, "", STATIC, "" },
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID__
	  ".slice/cri-containerd-" ID ".scope",
	        "cri-containerd-" ID ".scope", ID, "containerd", UID, "" },
	{ "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID__
	  ".slice/cri-containerd-" ID ".scope",
	        "cri-containerd-" ID ".scope", ID, "containerd", UID, "" },
	{ "/kubepods.slice/kubepods-pod" UID__ ".slice/cri-containerd-" ID ".scope",
	        "cri-containerd-" ID ".scope", ID, "containerd", UID, "" },
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID__
	  ".slice/docker-" ID ".scope",
	        "docker-" ID ".scope", ID, "docker", UID, "" },
	{ "/system.slice/containerd.service/kubepods-burstable-pod" UID__
	  ".slice:cri-containerd:" ID,
	        "kubepods-burstable-pod" UID__ ".slice:cri-containerd:" ID, ID, "containerd", UID,
	        "" },
	{ "/system.slice/nerdctl-" ID ".scope", "nerdctl-" ID ".scope", ID, "containerd", "", "" },
	{ "/default/" ID, ID, ID, "containerd", "", "" },
	{ "/k8s.io/" ID, ID, ID, "containerd", "", "" },
	/* A pod without a container yet. */
	{ "/kubepods/burstable/pod" UID, "pod" UID, "", "", UID, "" },
	/* CRI-O, and its monitor, which is no container. */
	{ "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID__ ".slice/crio-" ID
	  ".scope",
	        "crio-" ID ".scope", ID, "crio", UID, "" },
	{ "/kubepods.slice/kubepods-pod" UID__ ".slice/crio-" ID ".scope/container", "container",
	        ID, "crio", UID, "" },
	{ "/kubepods/besteffort/pod" UID "/crio-" ID, "crio-" ID, ID, "crio", UID, "" },
	{ "/system.slice/crio-conmon-" ID ".scope", "crio-conmon-" ID ".scope", "", "", "", "" },
	/* podman: root, rootless, cgroupfs, its monitor. */
	{ "/machine.slice/libpod-" ID ".scope", "libpod-" ID ".scope", ID, "podman", "", "" },
	{ "/machine.slice/libpod-" ID ".scope/container", "container", ID, "podman", "", "" },
	{ "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope/container",
	        "container", ID, "podman", "", "" },
	{ "/libpod_parent/libpod-" ID, "libpod-" ID, ID, "podman", "", "" },
	{ "/machine.slice/libpod-conmon-" ID ".scope", "libpod-conmon-" ID ".scope", "", "", "",
	        "" },
	/* Kubernetes in Docker: what is further in wins. */
	{ "/docker/" ID "/kubelet/kubepods/burstable/pod" UID "/" ID_2, ID_2, ID_2, "", UID, "" },
	{ "/system.slice/docker-" ID
	  ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID__
	  ".slice/cri-containerd-" ID_2 ".scope",
	        "cri-containerd-" ID_2 ".scope", ID_2, "containerd", UID, "" },
	/* A runtime nobody has told us of. */
	{ "/machine.slice/newrt-" ID ".scope", "newrt-" ID ".scope", ID, "", "", "" },
	/* What only looks like one. */
	{ "/docker/6f1b8a3c5d7e", "6f1b8a3c5d7e", "", "", "", "" },
	{ "/kubepods/podinfo", "podinfo", "", "", "", "" },
	{ "/kubepods/pod0bd6f6fd+e8b8-4aa5-b6a8-0c5e2f3b1a11",
	        "pod0bd6f6fd+e8b8-4aa5-b6a8-0c5e2f3b1a11", "", "", "", "" },
	{ "/x" ID, "x" ID, "", "", "", "" },
	{ "/::", "::", "", "", "", "" },
	{ "/.service", ".service", "", "", "", "" },
	{ "//a///b//", "b", "", "", "", "" },
};

static void each_known_path_says_whose_it_is(void **state)
{
	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		struct cgroup_names names;

		cgroup_path_parse(paths[i].path, &names);
		/* One of the leaves is longer than what is kept of it. */
		if (strncmp(names.leaf, paths[i].leaf, sizeof(names.leaf) - 1) ||
		        strcmp(names.container_id, paths[i].id) ||
		        strcmp(names.container_runtime, paths[i].runtime) ||
		        strcmp(names.pod_uid, paths[i].pod) || strcmp(names.unit, paths[i].unit))
			fail_msg("%s: leaf '%s' id '%s' runtime '%s' pod '%s' unit '%s'",
			        paths[i].path, names.leaf, names.container_id,
			        names.container_runtime, names.pod_uid, names.unit);
	}
}

static void a_long_name_is_cut_to_fit(void **state)
{
	struct cgroup_names names;
	char path[400];

	path[0] = '/';
	memset(path + 1, 'a', 390);
	snprintf(path + 391, 9, ".service");
	cgroup_path_parse(path, &names);
	assert_int_equal(strlen(names.leaf), sizeof(names.leaf) - 1);
	assert_int_equal(strlen(names.unit), sizeof(names.unit) - 1);
}

static const struct {
	const char *text;
	const char *path; /* NULL: -EBADMSG */
} files[] = {
	/* Version 2 alone. */
	{ "0::/system.slice/nginx.service\n", "/system.slice/nginx.service" },
	{ "0::/\n", "/" },
	{ "0::/system.slice/nginx.service (deleted)\n", "/system.slice/nginx.service" },
	/* Version 1 alone: memory, then systemd, then any. */
	{ "12:memory:/docker/" ID "\n11:cpu,cpuacct:/docker/" ID "\n1:name=systemd:/docker/" ID
	  "\n",
	        "/docker/" ID },
	{ "5:cpu:/\n4:memory:/a\n1:name=systemd:/b\n", "/a" },
	{ "5:cpu:/c\n4:memory:/\n1:name=systemd:/b\n", "/b" },
	{ "5:cpu:/c\n4:memory:/\n1:name=systemd:/\n", "/c" },
	/* Both: version 2 unless it is the root, or version 1 knows the container. */
	{ "4:memory:/a\n1:name=systemd:/b\n0::/c.service\n", "/c.service" },
	{ "9:name=systemd:/\n4:memory:/jobs/17\n0::/\n", "/jobs/17" },
	{ "4:memory:/kubepods/pod" UID "/" ID "\n0::/system.slice/containerd.service\n",
	        "/kubepods/pod" UID "/" ID },
	{ "4:memory:/docker/" ID "\n0::/system.slice/docker-" ID ".scope\n",
	        "/system.slice/docker-" ID ".scope" },
	{ "0::/a:b:c\n", "/a:b:c" },
	{ "0::/without/newline", "/without/newline" },
	{ "garbage\n0::/good\n", "/good" },
	{ "", NULL },
	{ "garbage\n", NULL },
	{ "0::\n", NULL },
	{ "0::relative\n", NULL },
};

static void the_path_that_says_most_is_picked(void **state)
{
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		char path[256] = "untouched";
		int result = cgroup_path_pick(
		        files[i].text, strlen(files[i].text), path, sizeof(path));

		assert_int_equal(result, files[i].path ? 0 : -EBADMSG);
		assert_string_equal(path, files[i].path ? files[i].path : "untouched");
	}
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
	char path[4];

	assert_int_equal(cgroup_path_pick("0::/abc", 7, path, 4), -ENOSPC);
	assert_int_equal(cgroup_path_pick("0::/ab", 6, path, 4), 0);
	assert_string_equal(path, "/ab");
}

static void runtimes_that_write_a_name_are_read(void **state)
{
	static const struct {
		const char *path;
		const char *name;
	} cases[] = {
		{ "/lxc.payload.web", "web" },
		{ "/lxc.payload/web", "" },
		{ "/lxc.payload.", "" },
		{ "/lxc/db-1/init.scope", "db-1" },
		{ "/machine.slice/machine-my\\x2dweb.scope/payload", "my-web" },
		{ "/machine.slice/machine-.scope", "" },
		{ "/machine.slice/machine-odd\\x0.scope", "odd\\x0" },
		/* What is further in is who it is: a container with an id has no name there. */
		{ "/lxc.payload.web/docker/" ID, "" },
		{ "/docker/" ID "/lxc.payload.inner", "inner" },
		{ "/system.slice/nginx.service", "" },
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct cgroup_names names;

		cgroup_path_parse(cases[i].path, &names);
		print_message("%s\n", cases[i].path);
		assert_string_equal(names.container_name, cases[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runtimes_that_write_a_name_are_read),
		cmocka_unit_test(each_known_path_says_whose_it_is),
		cmocka_unit_test(a_long_name_is_cut_to_fit),
		cmocka_unit_test(the_path_that_says_most_is_picked),
		cmocka_unit_test(a_path_that_does_not_fit_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
