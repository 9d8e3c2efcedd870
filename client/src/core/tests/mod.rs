//! The whole core against scripted peers in virtual time, by subject.

mod asked;
mod bounds;
mod consuming;
mod orderly;
mod routing;
mod sending;
mod unpacking;
