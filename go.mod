module github.com/catena-cni/catena

go 1.25.0
