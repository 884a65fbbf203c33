# profleet_embed(TARGET FILE SYMBOL HEADER): FILE's bytes as an array that TARGET includes.
#
# <build>/HEADER declares
#
#	static const unsigned char embed_SYMBOL[];        the bytes, and one 0 behind them
#	static const size_t embed_SYMBOL_bytes;           without that 0
#	static const char embed_SYMBOL_sha256[];          of the bytes, as base64 text
#
# profleet_embed_folder(FOLDER ext...) does it for every FOLDER/*.ext: query/flame.html becomes
# embed_flame_html in "query/embed/flame_html.h". One .c file includes each header, or every
# includer carries a copy.
#
# profleet_embed_joined(FOLDER NAME ext) does it for FOLDER/NAME_*.ext as one file NAME.ext: their bytes
# one behind the other, in the order of their names.

function(profleet_embed target file symbol header)
	set(out ${CMAKE_BINARY_DIR}/${header})
	add_custom_command(
		OUTPUT ${out}
		COMMAND ${CMAKE_COMMAND} -DFILE=${file} -DSYMBOL=${symbol} -DHEADER=${out}
			-P ${CMAKE_SOURCE_DIR}/cmake/embed_file.cmake
		DEPENDS ${file} ${CMAKE_SOURCE_DIR}/cmake/embed_file.cmake
		COMMENT "Embedding ${header}"
		VERBATIM)
	target_sources(${target} PRIVATE ${out})
	target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_BINARY_DIR})
endfunction()

function(profleet_embed_folder folder)
	profleet_part_target(${folder} target compiles)
	if(NOT compiles)
		return()
	endif()
	foreach(extension IN LISTS ARGN)
		file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.${extension})
		foreach(file IN LISTS files)
			get_filename_component(name ${file} NAME)
			string(MAKE_C_IDENTIFIER ${name} symbol)
			profleet_embed(${target} ${file} ${symbol} ${folder}/embed/${symbol}.h)
		endforeach()
	endforeach()
endfunction()

function(profleet_embed_joined folder name extension)
	profleet_part_target(${folder} target compiles)
	if(NOT compiles)
		return()
	endif()
	file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/${name}_*.${extension})
	list(SORT files)
	set(joined ${CMAKE_BINARY_DIR}/${folder}/embed/${name}.${extension})
	add_custom_command(
		OUTPUT ${joined}
		COMMAND ${CMAKE_COMMAND} "-DFILES=${files}" -DOUT=${joined} -P ${CMAKE_SOURCE_DIR}/cmake/join_files.cmake
		DEPENDS ${files} ${CMAKE_SOURCE_DIR}/cmake/join_files.cmake
		COMMENT "Joining ${name}.${extension}"
		VERBATIM)
	profleet_embed(${target} ${joined} ${name}_${extension} ${folder}/embed/${name}_${extension}.h)
endfunction()
