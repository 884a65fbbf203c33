#pragma once

/*
 * kv_failure makes a code of what RocksDB says went wrong: a text such as "IO error: No space left
 * on device: While appending to file: ...", of which only the words can be gone by.
 */

/* As kv.h lists them; -EIO for words that are not known. */
int kv_failure_code(const char *text);
