/* Texts as RocksDB 7.8 writes them, and what they mean. */

#include "storage/kv_failure.h"

#include <errno.h>

#include "tests/lib/test.h"

static void a_text_means_what_its_words_say(void **state)
{
	static const struct {
		const char *text;
		int code;
	} texts[] = {
		{ "IO error: No space left on device: While appending to file: /d/000004.log: No "
		  "space left on device",
		        -ENOSPC },
		{ "IO error: NoSpace: Max allowed space was reached", -ENOSPC },
		{ "IO error: Space limit reached: limit", -ENOSPC },
		{ "IO error: While appending to file: /d/000004.log: Disk quota exceeded",
		        -ENOSPC },
		{ "IO error: While lock file: /d/LOCK: Resource temporarily unavailable", -EBUSY },
		{ "IO error: lock hold by current process, acquire time 1 acquiring thread 2: "
		  "/d/LOCK: No locks available",
		        -EBUSY },
		{ "IO error: While open a file for appending: /d/000009.log: Permission denied",
		        -EACCES },
		{ "IO error: While mkdir if missing: /d: Read-only file system", -EROFS },
		{ "Corruption: block checksum mismatch: stored = 1, computed = 2", -EBADMSG },
		{ "Invalid argument: external_files_[0] is empty", -EINVAL },
		{ "Operation failed. Try again.: ", -EAGAIN },
		{ "Not implemented: Not supported operation in read only mode.", -EROFS },
		{ "IO error: While fdatasync: /d/000024.sst: Input/output error", -EIO },
		{ "", -EIO },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (kv_failure_code(texts[i].text) != texts[i].code)
			fail_msg("%s: %d", texts[i].text, kv_failure_code(texts[i].text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_text_means_what_its_words_say),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
