//! The consumer of the stream, against servers in this process that nobody here wrote: ferrokinesis for Kinesis and
//! dynoxide for DynamoDB. Faults they cannot play are wrapped around the ports.

mod bed;
mod failures;
mod fan_out;
mod moving;
mod ports;
mod proxy;
mod reading;
