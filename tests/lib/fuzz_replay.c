/*
 * main() of a fuzzer in every build but the fuzz preset: feeds each corpus file to the fuzzer once,
 * so that the corpus runs as a plain test under whatever sanitizer the build has.
 *
 *	fuzz.NAME PATH...                 files, or folders whose files are taken, sorted
 */

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static unsigned int replayed;

static void stop(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(1);
}

static void replay_file(const char *path, size_t count)
{
	/* Exactly as long as the input, so that ASan sees the first byte read behind it. */
	uint8_t *bytes = malloc(count ? count : 1);
	FILE *file = fopen(path, "re");

	if (!bytes || !file || fread(bytes, 1, count, file) != count)
		stop(path);
	fclose(file);
	/* A crash below must be preceded by the name of its input. */
	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(bytes, count);
	free(bytes);
	replayed++;
}

static void replay(const char *path)
{
	struct stat status;
	struct dirent **entries;
	int count;

	if (stat(path, &status) < 0)
		stop(path);
	if (!S_ISDIR(status.st_mode)) {
		replay_file(path, (size_t)status.st_size);
		return;
	}
	count = scandir(path, &entries, NULL, alphasort);
	if (count < 0)
		stop(path);
	for (int i = 0; i < count; i++) {
		char child[4096];

		if (entries[i]->d_name[0] != '.') {
			snprintf(child, sizeof(child), "%s/%s", path, entries[i]->d_name);
			replay(child);
		}
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	if (replayed == 0) {
		fprintf(stderr, "no input: add readable files to the corpus folder given\n");
		return 1;
	}
	printf("%u inputs replayed\n", replayed);
	return 0;
}
