// Package tail follows files that grow, over rotations and restarts, and hands over each of their lines exactly once and
// in order. docs/file-input.md says what a user may expect of it; this is why it holds.
//
// The unit is not the file but the content: what one file held from its creation or truncation on. A content is a track;
// a rotation moves it to another name, another inode, a copy, or a compressed copy. Its position says how far it was read
// and how to find it again, and travels with the records up to there, so that a kill at any point leaves records and
// position together or neither. From this follow the rules:
//
//   - A pack fits a frame, or is one record. Of two frames a kill in the middle of a write could leave the first one, whose
//     records would then be read again.
//   - The bytes of a record are not in a position before they are in its pack. Memory holds no part of a record between two
//     turns: a record that is not complete is read again.
//   - What is known of a content is a fact about bytes that were read: its first ones, and those before the offset. Files
//     that are appended to never change them, so a file in which they differ holds another content, whatever its inode.
//   - A look first gives each known content its file: the one with its inode if the bytes are right, else the oldest one of
//     its log that holds them. What is left over then is new, is a copy of another, or is history, which is what was
//     rotated before the oldest known content was written. A new file is made known, with its first bytes, before it
//     is read, so that it can be cut, moved and compressed meanwhile.
//   - A copy beside a live file that begins like it may have been made before that was cut, or not. judge decides that, once
//     for all: where the copy is a content of its own, what was known of the live file is in there.
//   - A look is not a moment. Files change between being listed, being compared and being begun, and readers go on. So a
//     size is taken again before it counts as smaller, a file that is opened has to have the inode that was seen, and no
//     new file is begun unless the contents beside it are where they were taken to be, checked after it was. Where that
//     fails the log is left as it is until the next look, which follows soon.
//   - Contents of one log are begun in the order of their rotation: a younger one waits until all that an older one held
//     when the younger was found has been read. Where both are known already there is nothing to wait for: then the
//     older was read that far.
//
// The planner is one goroutine. It looks, decides, and puts files in line that may have something to read. A few readers
// take them from there, one turn at a time. A track is used by one of them at a time (busy); the planner holds it the same
// way before it changes what a reader relies on.
package tail
