// Package pack writes and reads packs: ZIP64 files of one series' instances
// in Part 10 form, with one metadata entry that answers for all of them.
package pack
