/* Whatever a file holds, only 36 characters of the right shape are a uuid; anything else is
 * replaced. */

#include "agent/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/rng.h"

#define IDENTITY_FILE_NAME "agent.uuid"
#define IDENTITY_SALT      "profleet agent " /* machine-id itself is confidential: machine-id(5) */

void identity_format(struct wire_uuid uuid, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";
	char *at = ret_text;

	for (size_t i = 0; i < sizeof(uuid.bytes); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		*at++ = digits[uuid.bytes[i] >> 4];
		*at++ = digits[uuid.bytes[i] & 15];
	}
	*at = 0;
}

static int identity_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool identity_parse(const char *text, struct wire_uuid *ret_uuid)
{
	struct wire_uuid uuid = { { 0 } };
	char again[IDENTITY_TEXT_BYTES];
	uint32_t digits = 0;

	for (const char *at = text; *at && digits < 32; at++) {
		int digit = identity_digit(*at);

		if (digit >= 0) {
			uuid.bytes[digits / 2] |= (uint8_t)(digit << (digits % 2 ? 0 : 4));
			digits++;
		}
	}
	/* Dashes, and everything that was skipped, show when it is written again. */
	identity_format(uuid, again);
	if (digits != 32 || strcmp(text, again))
		return false;
	*ret_uuid = uuid;
	return true;
}

/* What makes a random or hashed number a uuid: RFC 9562, versions 4 and 8. */
static void identity_stamp(struct wire_uuid *uuid, uint8_t version)
{
	uuid->bytes[6] = (uint8_t)(version << 4 | (uuid->bytes[6] & 15));
	uuid->bytes[8] = (uint8_t)(0x80 | (uuid->bytes[8] & 0x3f));
}

static void identity_random(struct wire_uuid *ret_uuid)
{
	/* Without the kernel's randomness two agents must still differ. */
	if (rng_os_bytes(ret_uuid->bytes, sizeof(ret_uuid->bytes)) < 0) {
		uint64_t seeds[] = { clock_unix_ns(clock_real()), clock_monotonic_ns(clock_real()),
			(uint64_t)getpid(), (uintptr_t)ret_uuid };
		struct hash128 hash = hash128_bytes(seeds, sizeof(seeds));

		memcpy(ret_uuid->bytes, &hash, sizeof(ret_uuid->bytes));
	}
	identity_stamp(ret_uuid, 4);
}

/* The first line of a small file; false when there is none. */
static bool identity_read_line(int folder, const char *path, char *ret_text, size_t bytes)
{
	autoclose int fd = openat(folder, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t count = fd < 0 ? -1 : read(fd, ret_text, bytes - 1);

	if (count <= 0)
		return false;
	ret_text[count] = 0;
	ret_text[strcspn(ret_text, "\n")] = 0;
	return true;
}

static int identity_write(int folder, const char *text)
{
	char tmp[64];
	int result = 0;

	/* Two agents may start at once: the name that comes first stays, and both read it. */
	snprintf(tmp, sizeof(tmp), IDENTITY_FILE_NAME ".%d", (int)getpid());
	autoclose int fd = openat(
	        folder, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%s\n", text) < 0 || fsync(fd) < 0)
		result = -errno;
	if (result == 0 && linkat(folder, tmp, folder, IDENTITY_FILE_NAME, 0) < 0 &&
	        errno != EEXIST)
		result = -errno;
	(void)unlinkat(folder, tmp, 0);
	(void)fsync(folder);
	return result;
}

static bool identity_of_folder(const char *dir, struct wire_uuid *ret_uuid)
{
	char text[IDENTITY_TEXT_BYTES + 8];
	struct wire_uuid fresh;

	/* Only the last step of the path is made: a missing parent was not meant. */
	(void)mkdir(dir, 0755);
	autoclose int folder = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return false;
	if (identity_read_line(folder, IDENTITY_FILE_NAME, text, sizeof(text))) {
		if (identity_parse(text, ret_uuid))
			return true;
		/* It names nobody, so nothing is lost with it. */
		(void)unlinkat(folder, IDENTITY_FILE_NAME, 0);
	}
	identity_random(&fresh);
	identity_format(fresh, text);
	return identity_write(folder, text) == 0 &&
	       identity_read_line(folder, IDENTITY_FILE_NAME, text, sizeof(text)) &&
	       identity_parse(text, ret_uuid);
}

static bool identity_of_machine(const char *path, struct wire_uuid *ret_uuid)
{
	char id[64];
	char salted[96];

	if (!identity_read_line(AT_FDCWD, path, id, sizeof(id)) || strlen(id) != 32)
		return false;
	snprintf(salted, sizeof(salted), IDENTITY_SALT "%s", id);
	struct hash128 hash = hash128_bytes(salted, strlen(salted));
	memcpy(ret_uuid->bytes, &hash, sizeof(ret_uuid->bytes));
	identity_stamp(ret_uuid, 8);
	return true;
}

enum identity_source identity_uuid(
        const char *dir, const char *machine_id_path, struct wire_uuid *ret_uuid)
{
	if (identity_of_folder(dir ? dir : IDENTITY_DIR_DEFAULT, ret_uuid))
		return IDENTITY_FILE;
	if (identity_of_machine(machine_id_path ? machine_id_path : "/etc/machine-id", ret_uuid))
		return IDENTITY_MACHINE;
	identity_random(ret_uuid);
	return IDENTITY_RANDOM;
}

uint64_t identity_epoch(void)
{
	struct wire_uuid random;
	uint64_t epoch;

	identity_random(&random);
	memcpy(&epoch, random.bytes, sizeof(epoch));
	return epoch ? epoch : 1;
}

int identity_running(const char *dir, bool *ret_killed)
{
	static const char mark[] = "running\n";
	char path[4096];
	char byte;

	if (!dir)
		dir = IDENTITY_DIR_DEFAULT;
	if (snprintf(path, sizeof(path), "%s/agent.running", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* A lock ends with its process, however that ends; what was written stays. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	bool killed = pread(fd, &byte, 1, 0) == 1;
	if (pwrite(fd, mark, sizeof(mark) - 1, 0) != (ssize_t)sizeof(mark) - 1)
		return -EIO;
	*ret_killed = killed;
	return TAKE_FD(fd);
}

void identity_stopped(int mark)
{
	if (mark < 0)
		return;
	(void)!ftruncate(mark, 0);
	(void)close(mark);
}
