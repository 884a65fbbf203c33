# Run by profleet_embed_joined() at build time: writes OUT with the bytes of FILES, one behind the other.

file(WRITE ${OUT} "")
foreach(file IN LISTS FILES)
	file(READ ${file} text)
	file(APPEND ${OUT} "${text}")
endforeach()
